//! Loops a tile at a time. The innermost loop goes over tiles of 256 elements; what precompiled code
//! ([`crate::tile`]) does better than four lanes at once is done by calls on whole tiles: functions, random words, and
//! reductions of f32. [`super::calls`] finds the calls. Between the calls, passes over the tile evaluate what they need
//! into slots on the stack, and the last pass does the rest. A pass is a program for long vectors if it can be
//! ([`super::passes`]), else a loop of Cranelift's.
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
use mlc_ir::loops::{ArgId, AxisId, ExprId, ExprOp, Index, Lit, Prim, RedOp};

use super::Emit;
use super::calls::{Buffer, Callee, TileCall, is_tiled_float};
use super::domain::Walk;
use super::passes::To;
use super::value::Val;
use crate::features::Level;
use crate::symbols::Symbol;
use crate::tile::{self, TILE};

/// Bytes of an argument that the caches may not hold.
pub const FAR: u64 = 512 << 10;
/// Shortest innermost loop that goes in tiles.
pub const TILE_MIN: u64 = 64;

/// A reduction that takes whole tiles.
pub struct Sink {
    pub value: ExprId,
    pub op: RedOp,
    /// Partial results, f32.
    pub to: Value,
    /// One for each column, not the same lanes for each tile.
    pub by_column: bool,
}

/// Something that is stored for each column, where it may be written a tile at a time.
pub struct Direct<'n> {
    pub arg: ArgId,
    pub index: &'n Index,
    pub value: ExprId,
}

impl<'n> Direct<'n> {
    fn to(&self) -> (ExprId, To<'n>) {
        (self.value, To::Arg(self.arg, self.index))
    }
}

impl Walk<'_> {
    /// The one store of f32, where there is no other.
    fn only_store(&self, e: &Emit<'_, '_>) -> Option<&Direct<'_>> {
        let [direct] = self.direct else { return None };
        let alone = self.small.is_empty() && e.args[direct.arg.ix()].dtype == DType::F32;
        // A pass can do what a call cannot.
        (alone && !e.streams(direct.arg)).then_some(direct)
    }
}

/// What one pass over a tile knows.
pub struct Part {
    pub axis: usize,
    pub start: Value,
    end: Value,
    /// Expressions that are there, with the addresses of their tiles.
    pub known: Vec<(usize, Value)>,
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

    /// Loops over `lo..hi` of the innermost axis in tiles.
    pub fn tiled(
        &mut self,
        walk: &Walk<'_>,
        axis: usize,
        calls: &[TileCall],
        (lo, hi): (Value, Value),
        leaf: &dyn Fn(&mut Self),
    ) {
        let any = self.b.ins().icmp(IntCC::SignedLessThan, lo, hi);
        self.only_if(any, |e| {
            e.repeat(lo, hi, TILE as i64, |e, start| {
                let end = e.b.ins().iadd_imm_s(start, TILE as i64);
                let past = e.b.ins().icmp(IntCC::SignedGreaterThan, end, hi);
                let end = e.b.ins().select(past, hi, end);
                e.tile(walk, axis, calls, (start, end), leaf);
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
    fn tile(
        &mut self,
        walk: &Walk<'_>,
        axis: usize,
        calls: &[TileCall],
        (start, end): (Value, Value),
        leaf: &dyn Fn(&mut Self),
    ) {
        let count = self.b.ins().isub(end, start);
        let done = walk.done;
        let mut part = Part { axis, start, end, known: Vec::new(), done };
        self.prefetch_tiles(&part, calls, count);
        part.known = self.kept_tiles(start);
        let passes = calls.iter().map(|c| c.pass + 1).max().unwrap_or(0);
        // What a function computes last may be all that is stored.
        let mut stored = false;
        for pass in 0..passes {
            let now: Vec<usize> = (0..calls.len()).filter(|&c| calls[c].pass == pass).collect();
            // Operands that must be evaluated, each with its slot.
            let mut fill: Vec<(ExprId, Value)> = Vec::new();
            let mut operands: Vec<(Vec<Value>, Option<Value>)> = Vec::new();
            for &c in &now {
                let (mut places, mut free) = (Vec::new(), None);
                for &arg in &calls[c].args {
                    let place = self.tile_in_memory(&part, arg).unwrap_or_else(|| {
                        let slot = self.tile_slot();
                        fill.push((arg, slot));
                        free = Some(slot);
                        slot
                    });
                    places.push(place);
                }
                operands.push((places, free));
            }
            let kept = self.kept_for_later(&part, walk, calls, pass, &fill);
            fill.extend(&kept);
            self.fill_slots(&part, fill, count);
            part.known.extend(kept.iter().map(|&(e, slot)| (e.ix(), slot)));
            for (&c, (places, free)) in now.iter().zip(&operands) {
                let to = match (self.buffers[calls[c].expr], walk.only_store(self)) {
                    (Some(buffer), _) => self.tile_of(buffer.base, start),
                    (_, Some(d)) if walk.sinks.is_empty() && self.is_result(d, calls[c].expr) => {
                        stored = true;
                        self.address_at(&part, d.arg, d.index)
                    }
                    _ => free.unwrap_or_else(|| self.tile_slot()),
                };
                self.call_callee(&part, &calls[c], to, places, count);
                part.known.push((calls[c].expr, to));
            }
        }
        if !stored {
            self.rest_of_tile(walk, &part, count, leaf);
        }
    }

    /// Loops over `lo..hi` of the innermost axis in one pass of long vectors, if that is all that there is to do. False,
    /// and nothing is emitted, if it is not.
    pub fn direct_pass(&mut self, walk: &Walk<'_>, axis: usize, (lo, hi): (Value, Value)) -> bool {
        if !walk.sinks.is_empty()
            || !walk.small.is_empty()
            || walk.after_tile.is_some()
            || walk.direct.is_empty()
        {
            return false;
        }
        let known = self.kept_tiles(lo);
        let part = Part { axis, start: lo, end: hi, known, done: walk.done };
        let count = self.b.ins().isub(hi, lo);
        let stores: Vec<(ExprId, To<'_>)> = walk.direct.iter().map(Direct::to).collect();
        self.vector_pass(&part, &stores, count)
    }

    /// The buffers of rows that earlier sweeps have filled, from `start` on.
    fn kept_tiles(&mut self, start: Value) -> Vec<(usize, Value)> {
        let full = |b: Option<Buffer>| b.filter(|b| b.full).map(|b| b.base);
        (0..self.buffers.len())
            .filter_map(|i| {
                let base = full(self.buffers[i])?;
                Some((i, self.tile_of(base, start)))
            })
            .collect()
    }

    /// Reductions and stores of a tile, and the last pass.
    fn rest_of_tile(&mut self, walk: &Walk<'_>, part: &Part, count: Value, leaf: &dyn Fn(&mut Self)) {
        let mut fill: Vec<(ExprId, Value)> = Vec::new();
        // Reductions of what lies in memory need no pass, and come before it: the pass may write there.
        let mut pending: Vec<&Sink> = Vec::new();
        for s in walk.sinks {
            match self.tile_in_memory(part, s.value) {
                Some(from) => self.sink(s, from, part.start, count),
                None => pending.push(s),
            }
        }
        // Small floats are stored last: the pass may read what was there.
        let mut narrow: Vec<(&Direct<'_>, Value)> = Vec::new();
        for d in walk.small {
            let value = self.unrounded(part, d.value);
            let from = self.known_tile(part, value).unwrap_or_else(|| {
                let slot = self.tile_slot();
                fill.push((value, slot));
                slot
            });
            narrow.push((d, from));
        }
        let only = walk.only_store(self);
        let by_value = only.and_then(|d| Some((d, self.by_value(part, d.value)?)));
        // All at once, if it can be.
        let covered = walk.roots.is_empty() || !walk.direct.is_empty();
        if by_value.is_none() && covered {
            let mut outs: Vec<(ExprId, To<'_>)> =
                fill.iter().map(|&(e, slot)| (e, To::Place(slot))).collect();
            for s in &pending {
                outs.push((s.value, To::Into(s.op, self.sink_place(s, part.start))));
            }
            outs.extend(walk.direct.iter().map(Direct::to));
            if self.vector_pass(part, &outs, count) {
                return self.store_small(part, &narrow, count);
            }
        }
        let mut sinks: Vec<(&Sink, Value)> = Vec::new();
        for s in pending {
            let slot = self.tile_slot();
            fill.push((s.value, slot));
            sinks.push((s, slot));
        }
        if let Some((direct, (prim, from, with))) = by_value {
            self.fill_slots(part, fill, count);
            let to = self.address_at(part, direct.arg, direct.index);
            self.call(Symbol::ByValue(prim), &[to, from, count, with], None);
        } else if walk.roots.is_empty() {
            self.fill_slots(part, fill, count);
        } else {
            let roots: Vec<ExprId> = walk.roots.iter().copied().chain(fill.iter().map(|f| f.0)).collect();
            self.tile_pass(part, &roots, &|e, part| {
                e.put_all(part, &fill);
                leaf(e);
            });
        }
        for (s, slot) in sinks {
            self.sink(s, slot, part.start, count);
        }
        self.store_small(part, &narrow, count);
    }

    fn store_small(&mut self, part: &Part, narrow: &[(&Direct<'_>, Value)], count: Value) {
        for &(d, from) in narrow {
            let dtype = self.args[d.arg.ix()].dtype;
            let to = self.address_at(part, d.arg, d.index);
            self.call(Symbol::Narrow(dtype), &[to, from, count], None);
        }
    }

    /// What becomes the expression by a rounding that a store does anyway.
    fn unrounded(&self, part: &Part, e: ExprId) -> ExprId {
        match &self.body.expr(e).op {
            ExprOp::Prim(Prim::Cast, x)
                if self.body.expr(x[0]).dtype == DType::F32 && part.known.iter().all(|k| k.0 != e.ix()) =>
            {
                x[0]
            }
            _ => e,
        }
    }

    /// A slot for a tile of four-byte elements.
    fn tile_slot(&mut self) -> Value {
        self.slot(4 * TILE as u32)
    }

    /// While functions of a row are computed, has memory brought into the caches that is needed soon: this tile of the
    /// next row, which its first sweep reads in a burst, and where this tile's results will be stored.
    fn prefetch_tiles(&mut self, part: &Part, calls: &[TileCall], count: Value) {
        let body = self.body;
        let rows = body.rows.len();
        let functions = calls.iter().any(|c| matches!(c.callee, Callee::Function(_)));
        if part.done == 0 || !functions || rows == 0 {
            return;
        }
        let loads = body.exprs.iter().filter_map(|e| match &e.op {
            ExprOp::Load(load) => Some((load.arg, &load.index, 1)),
            _ => None,
        });
        // What is written past the caches is not wanted there.
        let stores = body.stores.iter().filter(|s| !self.streams(s.arg));
        let stores: Vec<_> = stores.map(|s| (s.arg, &s.index, 0)).collect();
        let mut seen: Vec<(ArgId, &Index)> = Vec::new();
        for (arg, index, ahead) in loads.chain(stores) {
            let next = index.coef(AxisId(rows as u32 - 1));
            let contiguous = index.is_affine() && index.coef(AxisId(part.axis as u32)) == 1;
            let dtype = self.args[arg.ix()].dtype;
            let size = dtype.size() as u64;
            let fits = is_tiled_float(dtype) && size * self.args[arg.ix()].len > FAR;
            if !fits || !contiguous || next == 0 || seen.contains(&(arg, index)) {
                continue;
            }
            seen.push((arg, index));
            let at = self.address_at(part, arg, index);
            let at = self.b.ins().iadd_imm_s(at, size as i64 * next * ahead);
            let bytes = self.b.ins().imul_imm_s(count, size as i64);
            self.call(Symbol::Prefetch, &[at, bytes], None);
        }
    }

    /// Whether the expression is what is stored, as it is.
    fn is_result(&self, d: &Direct<'_>, expr: usize) -> bool {
        self.unwidened(d.value).ix() == expr && is_tiled_float(self.body.exprs[expr].dtype)
    }

    /// Takes the tile at `from` into a reduction.
    fn sink(&mut self, s: &Sink, from: Value, start: Value, count: Value) {
        let to = self.sink_place(s, start);
        self.call_combine(s.op, to, from, count);
    }

    fn sink_place(&mut self, s: &Sink, start: Value) -> Value {
        if s.by_column { self.tile_of(s.to, start) } else { s.to }
    }

    /// The tile of an array of f32 that begins at element `start`.
    fn tile_of(&mut self, base: Value, start: Value) -> Value {
        let offset = self.b.ins().ishl_imm_u(start, 2);
        self.b.ins().iadd(base, offset)
    }

    /// Where the tile of an expression lies: known already, or an argument's elements one after another.
    fn tile_in_memory(&mut self, part: &Part, e: ExprId) -> Option<Value> {
        if let Some(at) = self.known_tile(part, e) {
            return Some(at);
        }
        let ExprOp::Load(load) = &self.body.expr(e).op else { return None };
        self.is_plain_load(e, part.axis, DType::F32).then(|| self.address_at(part, load.arg, &load.index))
    }

    /// Where the tile of a float lies that was computed.
    fn known_tile(&self, part: &Part, e: ExprId) -> Option<Value> {
        let known = |e: ExprId| part.known.iter().find(|k| k.0 == e.ix()).map(|k| k.1);
        let float = is_tiled_float(self.body.expr(e).dtype);
        if float { known(e).or_else(|| known(self.unwidened(e))) } else { None }
    }

    /// The address of an argument's element at the start of the tile.
    pub fn address_at(&mut self, part: &Part, arg: ArgId, index: &Index) -> Value {
        self.axes[part.axis] = Some(part.start);
        let at = self.address(arg, self.args[arg.ix()].dtype, index, 0, 0);
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
        let places: Vec<(ExprId, To<'_>)> = fill.iter().map(|&(e, slot)| (e, To::Place(slot))).collect();
        if self.vector_pass(part, &places, count) {
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
                let dtype = e.body.exprs[expr].dtype;
                let v = e.take_from_tile(part, tile_dtype(dtype), at);
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

    fn take_from_tile(&mut self, part: &Part, dtype: DType, tile: Value) -> Val {
        let place = self.tile_place(part, tile);
        if self.vec_axis.is_some() {
            self.load_contiguous(dtype, place)
        } else {
            Val::One(self.load_scalar(dtype, place, 0))
        }
    }

    /// Has a call's values written to `to`; its operands' tiles lie at `args`.
    fn call_callee(&mut self, part: &Part, call: &TileCall, to: Value, args: &[Value], count: Value) {
        let body = self.body;
        let dtype = body.exprs[call.expr].dtype;
        match call.callee {
            Callee::Function(func) => {
                let second = args.get(1).copied().unwrap_or(args[0]);
                self.call(Symbol::Tile(func), &[to, args[0], second, count], None);
            }
            Callee::Random => {
                let [seed, first, site, iteration] = self.random_args(part, call.expr);
                self.call(Symbol::Random, &[to, count, seed, first, site, iteration], None);
            }
            Callee::Widen => {
                let ExprOp::Load(load) = &body.exprs[call.expr].op else { return };
                let from = self.address_at(part, load.arg, &load.index);
                self.call(Symbol::Widen(dtype), &[to, from, count], None);
            }
            Callee::Round => {
                self.call(Symbol::Round(dtype), &[to, args[0], count], None);
            }
            Callee::Rounded(prim) => {
                let (mut places, mut with) = ([self.imm(0); 2], None);
                for (place, o) in places.iter_mut().zip(body.exprs[call.expr].operands()) {
                    match call.args.iter().position(|&a| a == o) {
                        Some(i) => *place = args[i],
                        None => {
                            let v = self.value(o);
                            with = Some(self.lane(v, dtype, 0));
                        }
                    }
                }
                let with = with.unwrap_or_else(|| self.lit(Lit::zero(DType::F32)));
                self.call(Symbol::Rounded(prim, dtype), &[to, places[0], places[1], count, with], None);
            }
        }
        if call.round {
            self.call(Symbol::Round(dtype), &[to, to, count], None);
        }
    }

    /// The operands of random words at the start of the tile.
    fn random_args(&mut self, part: &Part, expr: usize) -> [Value; 4] {
        let body = self.body;
        let operands = body.exprs[expr].operands();
        self.axes[part.axis] = Some(part.start);
        let values = self.scoped(|e| {
            std::array::from_fn(|i| {
                let v = e.value(operands[i]);
                e.lane(v, body.expr(operands[i]).dtype, 0)
            })
        });
        self.axes[part.axis] = None;
        values
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

/// What a tile of an expression holds: all floats are f32, and random words are there as well.
fn tile_dtype(dtype: DType) -> DType {
    if dtype.is_float() { DType::F32 } else { dtype }
}
