//! Loops a tile at a time. The innermost loop goes over tiles of 256 elements; what precompiled code
//! ([`crate::tile`]) does better than four lanes at once is done by calls on whole tiles: functions, and reductions of
//! f32. Between the calls, passes over the tile evaluate what they need into slots on the stack, and the last
//! pass does the rest.
//!
//! ```text
//! for i { y[i] = exp(x[i] - m) * c }
//!     ->  for tile { for i { slot[i] = x[i] - m };  exp(slot);  for i { y[i] = slot[i] * c } }
//! ```
//! A function of another's value takes a pass of its own. Operands that lie in memory as they are need none. Values
//! of functions that several sweeps over a row use stay in a buffer as long as the row, if that fits the first
//! cache. The same operations on the same elements: only the vector width differs, which does not show.

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{InstBuilder, Value, types};
use mlc_ir::DType;
use mlc_ir::loops::{ArgId, AxisId, ExprId, ExprOp, Func, Index, Prim, RedOp};

use super::Emit;
use super::domain::Walk;
use super::value::Val;
use crate::features::Level;
use crate::symbols::Symbol;
use crate::tile::{self, TILE};

/// Slots that one loop may use: 16 KiB.
const MAX_SLOTS: usize = 16;
/// Slots of one pass for values that later passes need too.
const MAX_KEPT: usize = 4;
/// Bytes of row buffers.
const MAX_BUFFERS: u64 = 24 << 10;
/// Bytes of an argument that the caches may not hold.
pub const FAR: u64 = 512 << 10;
/// Shortest innermost loop that goes in tiles.
pub const TILE_MIN: u64 = 64;

/// A function call that works on tiles.
pub struct TileCall {
    expr: usize,
    func: Func,
    /// What is computed into tiles before; none for random bits.
    args: Vec<ExprId>,
    /// Calls whose values this one's operands need come in earlier passes.
    pass: usize,
}

/// A reduction that takes whole tiles.
pub struct Sink {
    pub value: ExprId,
    pub op: RedOp,
    /// Partial results, f32.
    pub to: Value,
    /// One for each column, not the same lanes for each tile.
    pub by_column: bool,
}

/// The one thing that is stored for each column, where it may be written a tile at a time.
pub struct Direct<'n> {
    pub arg: ArgId,
    pub index: &'n Index,
    pub value: ExprId,
}

/// The row's values of an expression.
#[derive(Clone, Copy)]
pub struct Buffer {
    base: Value,
    /// An earlier sweep has computed them.
    full: bool,
}

/// What one pass over a tile knows.
struct Part {
    axis: usize,
    start: Value,
    end: Value,
    /// Expressions that are there, with the addresses of their tiles.
    known: Vec<(usize, Value)>,
    done: usize,
}

impl Emit<'_, '_> {
    /// Whether the innermost loop of a sweep over the columns goes in tiles, which reductions then may take.
    pub fn takes_tiles(&self, vector: bool) -> bool {
        let [axis] = &self.body.cols[..] else { return false };
        vector && axis.extent >= TILE_MIN && self.cpu.level > Level::Portable
    }

    /// Whether precompiled code reduces this.
    pub fn reduces_tiles(&self, op: RedOp, acc: DType) -> bool {
        acc == DType::F32 && tile::reduction(op, self.cpu.level).is_some()
    }

    /// Buffers for the values of functions that more than one sweep of a row needs; `sweeps` are their roots.
    pub fn keep_rows(&mut self, sweeps: &[Vec<ExprId>]) {
        let [axis] = &self.body.cols[..] else { return };
        let row = 4 * axis.extent.next_multiple_of(TILE as u64);
        if axis.extent < TILE_MIN {
            return;
        }
        let last = self.body.axes().count();
        let needed: Vec<Vec<bool>> = sweeps.iter().map(|s| self.closure(s.iter().copied())).collect();
        let mut room = MAX_BUFFERS;
        for (i, e) in self.body.exprs.iter().enumerate() {
            let ExprOp::Fn(func, _) = &e.op else { continue };
            let users = needed.iter().filter(|n| n[i]).count();
            let tiled = self.level[i] == last
                && is_small_float(e.dtype)
                && tile::code(*func, self.cpu.level).is_some();
            if users > 1 && tiled && row <= room {
                room -= row;
                self.buffers[i] = Some(Buffer { base: self.slot(row as u32), full: false });
            }
        }
    }

    /// Forgets what the buffers hold: another row begins.
    pub fn forget_rows(&mut self) {
        self.buffers.iter_mut().flatten().for_each(|b| b.full = false);
    }

    /// The innermost functions that have precompiled code and must be computed.
    pub fn tile_calls(&self, walk: &Walk<'_>, axis: usize) -> Vec<TileCall> {
        let body = self.body;
        let mut calls: Vec<TileCall> = Vec::new();
        let mut slots = 0;
        // For each expression: in which pass its value can be known.
        let mut pass = vec![0; body.exprs.len()];
        let full = |i: usize| self.buffers[i].is_some_and(|b| b.full);
        let reached = self.closure_up_to(
            walk.roots.iter().copied().chain(walk.sinks.iter().map(|s| s.value)),
            &(0..body.exprs.len()).filter(|&i| full(i)).collect::<Vec<_>>(),
        );
        for (i, e) in body.exprs.iter().enumerate() {
            if full(i) {
                continue;
            }
            pass[i] = e.operands().iter().map(|o| pass[o.ix()]).max().unwrap_or(0);
            let here = reached[i] && self.level[i] == 1 + axis && self.stage[i] as usize <= walk.done;
            let ExprOp::Fn(func, args) = &e.op else { continue };
            let args = match func {
                Func::Philox if self.counts_up(args, axis) => &[],
                _ if is_small_float(e.dtype) && tile::code(*func, self.cpu.level).is_some() => &args[..],
                _ => continue,
            };
            let needed = args.len().max(1);
            if here && self.memo[i].is_none() && slots + needed <= MAX_SLOTS {
                slots += needed;
                calls.push(TileCall { expr: i, func: *func, args: args.to_vec(), pass: pass[i] });
                pass[i] += 1;
            }
        }
        calls
    }

    /// Loops over `lo..hi` of the innermost axis in tiles.
    pub fn tiled(
        &mut self,
        walk: &Walk<'_>,
        axis: usize,
        calls: &[TileCall],
        (lo, hi): (Value, Value),
        leaf: &dyn Fn(&mut Self),
    ) {
        let bytes = 4 * TILE as u32;
        let slots: Vec<Vec<Value>> =
            calls.iter().map(|c| (0..c.args.len().max(1)).map(|_| self.slot(bytes)).collect()).collect();
        let sink_slots: Vec<Value> = walk.sinks.iter().map(|_| self.slot(bytes)).collect();
        let any = self.b.ins().icmp(IntCC::SignedLessThan, lo, hi);
        self.only_if(any, |e| {
            e.repeat(lo, hi, TILE as i64, |e, start| {
                let end = e.b.ins().iadd_imm_s(start, TILE as i64);
                let past = e.b.ins().icmp(IntCC::SignedGreaterThan, end, hi);
                let end = e.b.ins().select(past, hi, end);
                e.tile(walk, axis, calls, &slots, &sink_slots, (start, end), leaf);
                if let Some(after) = walk.after_tile {
                    after(e, end);
                }
            });
        });
        for c in calls {
            if let Some(buffer) = &mut self.buffers[c.expr] {
                buffer.full = true;
            }
        }
    }

    /// One tile: passes and calls in turn, then reductions, then the last pass.
    #[expect(clippy::too_many_arguments, reason = "the loop's state, used once")]
    fn tile(
        &mut self,
        walk: &Walk<'_>,
        axis: usize,
        calls: &[TileCall],
        slots: &[Vec<Value>],
        sink_slots: &[Value],
        (start, end): (Value, Value),
        leaf: &dyn Fn(&mut Self),
    ) {
        let count = self.b.ins().isub(end, start);
        let done = walk.done;
        let mut part = Part { axis, start, end, known: Vec::new(), done };
        self.prefetch_tiles(&part, calls, count);
        for i in 0..self.buffers.len() {
            if let Some(Buffer { base, full: true }) = self.buffers[i] {
                let at = self.tile_of(base, start);
                part.known.push((i, at));
            }
        }
        let passes = calls.iter().map(|c| c.pass + 1).max().unwrap_or(0);
        // What a function computes last may be all that is stored.
        let mut stored = false;
        for pass in 0..passes {
            let now: Vec<usize> = (0..calls.len()).filter(|&c| calls[c].pass == pass).collect();
            // Operands that must be evaluated, each with its slot.
            let mut fill: Vec<(ExprId, Value)> = Vec::new();
            let mut operands: Vec<Vec<Value>> = Vec::new();
            for &c in &now {
                let mut places = Vec::new();
                for (&arg, &slot) in calls[c].args.iter().zip(&slots[c]) {
                    let place = self.tile_in_memory(&part, arg).unwrap_or_else(|| {
                        fill.push((arg, slot));
                        slot
                    });
                    places.push(place);
                }
                operands.push(places);
            }
            let kept = self.kept_for_later(&part, walk, calls, pass, &fill);
            fill.extend(&kept);
            self.fill_slots(&part, fill, count);
            part.known.extend(kept.iter().map(|&(e, slot)| (e.ix(), slot)));
            for (&c, places) in now.iter().zip(&operands) {
                let to = match (self.buffers[calls[c].expr], &walk.direct) {
                    (Some(buffer), _) => self.tile_of(buffer.base, start),
                    (_, Some(d)) if walk.sinks.is_empty() && self.is_result(d, calls[c].expr) => {
                        stored = true;
                        self.address_at(&part, d.arg, d.index)
                    }
                    _ => slots[c][0],
                };
                match calls[c].func {
                    Func::Philox => self.call_random(&part, calls[c].expr, to, count),
                    func => self.call_function(func, to, places, count),
                }
                part.known.push((calls[c].expr, to));
            }
        }
        if stored {
            return;
        }
        // Reductions of what lies in memory need no pass, and come before it: the pass may write there.
        let mut fill: Vec<(ExprId, Value)> = Vec::new();
        for (s, &slot) in walk.sinks.iter().zip(sink_slots) {
            match self.tile_in_memory(&part, s.value) {
                Some(from) => self.sink(s, from, start, count),
                None => fill.push((s.value, slot)),
            }
        }
        if let Some(direct) = &walk.direct
            && let Some((prim, from, with)) = self.by_value(&part, direct.value)
        {
            self.fill_slots(&part, fill.clone(), count);
            let to = self.address_at(&part, direct.arg, direct.index);
            self.call(Symbol::ByValue(prim), &[to, from, count, with], None);
        } else {
            let roots: Vec<ExprId> = walk.roots.iter().copied().chain(fill.iter().map(|f| f.0)).collect();
            if !roots.is_empty() {
                self.tile_pass(&part, &roots, &|e, part| {
                    e.put_all(part, &fill);
                    leaf(e);
                });
            }
        }
        for (s, &slot) in walk.sinks.iter().zip(sink_slots) {
            if fill.contains(&(s.value, slot)) {
                self.sink(s, slot, start, count);
            }
        }
    }

    /// While functions of a row are computed, has memory brought into the caches that is needed soon: this tile of the
    /// next row, which its first sweep reads in a burst, and where this tile's results will be stored.
    fn prefetch_tiles(&mut self, part: &Part, calls: &[TileCall], count: Value) {
        let body = self.body;
        let rows = body.rows.len();
        if part.done == 0 || calls.is_empty() || rows == 0 {
            return;
        }
        let loads = body.exprs.iter().filter_map(|e| match &e.op {
            ExprOp::Load(load) => Some((load.arg, &load.index, 1)),
            _ => None,
        });
        let stores = body.stores.iter().map(|s| (s.arg, &s.index, 0));
        let bytes = self.b.ins().ishl_imm_u(count, 2);
        let mut seen: Vec<(ArgId, &Index)> = Vec::new();
        for (arg, index, ahead) in loads.chain(stores) {
            let next = index.coef(AxisId(rows as u32 - 1));
            let contiguous = index.is_affine() && index.coef(AxisId(part.axis as u32)) == 1;
            let fits = self.args[arg.ix()].dtype == DType::F32 && 4 * self.args[arg.ix()].len > FAR;
            if !fits || !contiguous || next == 0 || seen.contains(&(arg, index)) {
                continue;
            }
            seen.push((arg, index));
            let at = self.address_at(part, arg, index);
            let at = self.b.ins().iadd_imm_s(at, 4 * next * ahead);
            self.call(Symbol::Prefetch, &[at, bytes], None);
        }
    }

    /// What the pass that fills slots for the calls of `pass` computes on its way, and later passes would again: those
    /// values that something else is computed from later, with slots for them. Only what takes longer to compute than
    /// to read.
    fn kept_for_later(
        &mut self,
        part: &Part,
        walk: &Walk<'_>,
        calls: &[TileCall],
        pass: usize,
        fill: &[(ExprId, Value)],
    ) -> Vec<(ExprId, Value)> {
        let body = self.body;
        let mut known: Vec<usize> = part.known.iter().map(|k| k.0).collect();
        let now = self.closure_up_to(fill.iter().map(|f| f.0), &known);
        let here = |e: &Self, i: usize| e.level[i] == 1 + part.axis && !known.contains(&i);
        let computed = |e: &Self, i: usize| here(e, i) && matches!(body.exprs[i].op, ExprOp::Prim(..));
        let long: Vec<usize> = (0..body.exprs.len())
            .filter(|&i| now[i] && computed(self, i) && body.exprs[i].dtype == DType::F32)
            .filter(|&i| body.exprs[i].operands().iter().any(|o| computed(self, o.ix())))
            .filter(|&i| fill.iter().all(|f| f.0.ix() != i))
            .collect();
        known.extend(calls.iter().filter(|c| c.pass <= pass).map(|c| c.expr));
        let later_args = calls.iter().filter(|c| c.pass > pass).flat_map(|c| c.args.iter().copied());
        let roots: Vec<ExprId> =
            walk.roots.iter().copied().chain(walk.sinks.iter().map(|s| s.value)).chain(later_args).collect();
        let later = self.closure_up_to(roots.iter().copied(), &known);
        let used = |i: usize| {
            let reads = |j: usize| body.exprs[j].operands().iter().any(|o| o.ix() == i);
            let by_new =
                (0..body.exprs.len()).any(|j| later[j] && !now[j] && !known.contains(&j) && reads(j));
            later[i] && (by_new || roots.iter().any(|r| r.ix() == i))
        };
        let kept: Vec<usize> = long.into_iter().filter(|&i| used(i)).take(MAX_KEPT).collect();
        kept.into_iter().map(|i| (ExprId(i as u32), self.slot(4 * TILE as u32))).collect()
    }

    /// Whether the expression is what is stored, as it is.
    fn is_result(&self, d: &Direct<'_>, expr: usize) -> bool {
        d.value.ix() == expr && self.body.exprs[expr].dtype == DType::F32
    }

    /// Takes the tile at `from` into a reduction.
    fn sink(&mut self, s: &Sink, from: Value, start: Value, count: Value) {
        let to = if s.by_column { self.tile_of(s.to, start) } else { s.to };
        self.call_combine(s.op, to, from, count);
    }

    /// The tile of an array of f32 that begins at element `start`.
    fn tile_of(&mut self, base: Value, start: Value) -> Value {
        let offset = self.b.ins().ishl_imm_u(start, 2);
        self.b.ins().iadd(base, offset)
    }

    /// Where the tile of an expression lies: known already, or an argument's elements one after another.
    fn tile_in_memory(&mut self, part: &Part, e: ExprId) -> Option<Value> {
        let expr = self.body.expr(e);
        if expr.dtype != DType::F32 {
            return None;
        }
        if let Some(&(_, at)) = part.known.iter().find(|k| k.0 == e.ix()) {
            return Some(at);
        }
        let ExprOp::Load(load) = &expr.op else { return None };
        let contiguous = load.index.is_affine() && load.index.coef(AxisId(part.axis as u32)) == 1;
        if load.guard.is_some() || !contiguous {
            return None;
        }
        Some(self.address_at(part, load.arg, &load.index))
    }

    /// The address of an f32 argument's element at the start of the tile.
    fn address_at(&mut self, part: &Part, arg: ArgId, index: &Index) -> Value {
        self.axes[part.axis] = Some(part.start);
        let at = self.address(arg, DType::F32, index, 0, 0);
        self.axes[part.axis] = None;
        at
    }

    /// The expression as a primitive of a tile in memory and a value that is the same in all of it.
    fn by_value(&mut self, part: &Part, e: ExprId) -> Option<(Prim, Value, Value)> {
        let expr = self.body.expr(e);
        let ExprOp::Prim(prim, args) = &expr.op else { return None };
        let fits = expr.dtype == DType::F32 && args.len() == 2 && self.level[args[1].ix()] <= part.axis;
        if !fits || tile::by_value(*prim, self.cpu.level).is_none() {
            return None;
        }
        let from = self.tile_in_memory(part, args[0])?;
        let Val::One(with) = self.value(args[1]) else { return None };
        Some((*prim, from, with))
    }

    /// Evaluates expressions into their slots.
    fn fill_slots(&mut self, part: &Part, mut fill: Vec<(ExprId, Value)>, count: Value) {
        fill.retain(|&(e, slot)| match self.by_value(part, e) {
            Some((prim, from, with)) => {
                self.call(Symbol::ByValue(prim), &[slot, from, count, with], None);
                false
            }
            None => true,
        });
        if fill.is_empty() {
            return;
        }
        let roots: Vec<ExprId> = fill.iter().map(|f| f.0).collect();
        self.tile_pass(part, &roots, &|e, part| e.put_all(part, &fill));
    }

    fn put_all(&mut self, part: &Part, fill: &[(ExprId, Value)]) {
        for &(value, slot) in fill {
            let v = self.value(value);
            self.put_in_tile(part, slot, v);
        }
    }

    /// One pass over a tile.
    fn tile_pass(&mut self, part: &Part, roots: &[ExprId], leaf: &dyn Fn(&mut Self, &Part)) {
        let known: Vec<usize> = part.known.iter().map(|k| k.0).collect();
        let needed = self.closure_up_to(roots.iter().copied(), &known);
        let unroll = self.unroll(&needed, 1 + part.axis, &known);
        let inside = |e: &mut Self, i: Value| {
            e.axes[part.axis] = Some(i);
            for &(expr, at) in part.known.iter().filter(|k| needed[k.0]) {
                let v = match e.body.exprs[expr].dtype {
                    DType::U32 => e.take_from_tile(part, at, DType::U32),
                    dtype => {
                        // Computed in f32; smaller floats round once more.
                        let v = e.take_from_tile(part, at, DType::F32);
                        e.prim(Prim::Cast, DType::F32, dtype, &[v])
                    }
                };
                e.memo[expr] = Some(v);
                e.trail.push(expr);
            }
            e.emit_level(1 + part.axis, &needed, part.done);
            leaf(e, part);
            e.axes[part.axis] = None;
        };
        self.in_groups(part.axis, part.start, part.end, unroll, &inside);
    }

    fn tile_place(&mut self, part: &Part, tile: Value) -> Value {
        let i = self.axis(part.axis);
        let at = self.b.ins().isub(i, part.start);
        let offset = self.b.ins().ishl_imm_u(at, 2);
        let place = self.b.ins().iadd(tile, offset);
        self.b.ins().iadd_imm_s(place, 4 * self.lane_shift)
    }

    fn put_in_tile(&mut self, part: &Part, tile: Value, v: Val) {
        let place = self.tile_place(part, tile);
        if self.vec_axis.is_some() {
            self.store_contiguous(DType::F32, v, place);
        } else {
            let v = self.lane(v, DType::F32, 0);
            self.store_scalar(DType::F32, v, place, 0);
        }
    }

    fn take_from_tile(&mut self, part: &Part, tile: Value, dtype: DType) -> Val {
        let place = self.tile_place(part, tile);
        if self.vec_axis.is_some() {
            self.load_contiguous(dtype, place)
        } else {
            Val::One(self.load_scalar(dtype, place, 0))
        }
    }

    /// Whether random bits with these operands have consecutive indices along the axis, and all else is the same.
    fn counts_up(&self, args: &[ExprId], axis: usize) -> bool {
        let [seed, index, site, iteration] = args else { return false };
        let same = |e: &ExprId| self.level[e.ix()] <= axis;
        tile::random(self.cpu.level).is_some()
            && [seed, site, iteration].into_iter().all(same)
            && self.slope(*index, axis) == Some(1)
    }

    /// By how much an integer expression grows with each step of an axis, if that is a constant that its form shows.
    fn slope(&self, e: ExprId, axis: usize) -> Option<i64> {
        if self.level[e.ix()] <= axis {
            return Some(0);
        }
        let constant = |e: ExprId| match &self.body.expr(e).op {
            ExprOp::Const(lit) => Some(lit.bits as i64),
            _ => None,
        };
        let expr = self.body.expr(e);
        match &expr.op {
            ExprOp::AxisValue(a) => Some(i64::from(a.ix() == axis)),
            ExprOp::Prim(Prim::Add, args) => {
                self.slope(args[0], axis)?.checked_add(self.slope(args[1], axis)?)
            }
            ExprOp::Prim(Prim::Mul, args) => self.slope(args[0], axis)?.checked_mul(constant(args[1])?),
            ExprOp::Prim(Prim::Cast, args) => {
                let wide = |d: DType| matches!(d, DType::I64 | DType::U64);
                let from = self.body.expr(args[0]).dtype;
                if wide(from) && wide(expr.dtype) { self.slope(args[0], axis) } else { None }
            }
            _ => None,
        }
    }

    /// The random bits `expr` of the tile.
    fn call_random(&mut self, part: &Part, expr: usize, to: Value, count: Value) {
        let ExprOp::Fn(_, args) = &self.body.exprs[expr].op else { return };
        self.axes[part.axis] = Some(part.start);
        self.scoped(|e| {
            let values: Vec<Val> = args.iter().map(|&a| e.value(a)).collect();
            let [Val::One(seed), Val::One(index), Val::One(site), Val::One(iteration)] = values[..] else {
                unreachable!("single values: no axis is a vector's between passes")
            };
            e.call(Symbol::Random, &[to, count, seed, index, site, iteration], None);
        });
        self.axes[part.axis] = None;
    }

    /// `to[i] = func(args[i]..)`
    fn call_function(&mut self, func: Func, to: Value, args: &[Value], count: Value) {
        let second = args.get(1).copied().unwrap_or(args[0]);
        self.call(Symbol::Tile(func), &[to, args[0], second, count], None);
    }

    /// `to[i] = op(to[i], from[i])`
    fn call_combine(&mut self, op: RedOp, to: Value, from: Value, count: Value) {
        self.call(Symbol::Combine(op), &[to, from, count], None);
    }

    /// Folds lanes of f32 into one value, if precompiled code does that.
    pub fn call_fold(&mut self, op: RedOp, lanes: Value, width: u64) -> Option<Value> {
        tile::reduction(op, self.cpu.level)?;
        let width = self.imm(width as i64);
        self.call(Symbol::Fold(op), &[lanes, width], Some(types::F32))
    }
}

fn is_small_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}
