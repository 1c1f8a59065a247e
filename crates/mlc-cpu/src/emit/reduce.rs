//! Row reductions by the tree R4: 256 lanes in memory, folded by halves, blocks of 4096 combined pairwise.

use std::ops::Range;

use cranelift::codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift::codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use mlc_ir::DType;
use mlc_ir::loops::{ExprId, ExprOp, Lit, RedOp};
use mlc_ir::mutate::{Mutation, on};

use super::domain::{Bounds, Walk};
use super::tiles::Sink;
use super::value::{Val, reg};
use super::{Emit, LANES};
use crate::features::Level;
use crate::symbols::Symbol;
use crate::tile;

/// Lanes of the tree.
const WIDTH: u64 = 256;
/// Elements of a block.
const BLOCK: u64 = 4096;

/// The dtype that partial results have in working memory: as in registers.
pub fn slot_dtype(acc: DType) -> DType {
    match acc {
        DType::F16 | DType::BF16 => DType::F32,
        d => d,
    }
}

/// The partial results of one reduction.
pub struct Partial {
    pub op: RedOp,
    pub acc: DType,
    /// Lanes that are used: 256, or the next power of two of a shorter row. 1 for ArgMax and ArgMin.
    width: u64,
    /// `width` values; for ArgMax and ArgMin, one, and 8 bytes on its position.
    pub lanes: Value,
    /// Block results by level, and how many blocks are over; only for rows longer than a block.
    blocks: Option<(Value, Value)>,
}

impl Emit<'_, '_> {
    /// Emits the sweep that computes reductions `reds` of the current row.
    pub fn reduce_rows(&mut self, reds: Range<usize>) {
        let body = self.body;
        let count = body.col_count();
        // What lies one after another, or will in a buffer, is reduced in registers.
        let whole: Vec<usize> = reds.clone().filter(|&j| self.reduces_row(j)).collect();
        let keeps: Vec<ExprId> = whole.iter().map(|&j| body.reds[j].value).collect();
        let keeps: Vec<ExprId> = keeps.into_iter().filter(|&v| self.buffers[v.ix()].is_some()).collect();
        let swept: Vec<usize> = reds.clone().filter(|j| !whole.contains(j)).collect();
        let partials = self.sweep(&swept, &keeps, None);
        for j in whole {
            let v = match self.row_in_memory(body.reds[j].value) {
                Some(row) => {
                    let n = self.imm(count as i64);
                    self.call(Symbol::Row(body.reds[j].op), &[row, n], Some(types::F32))
                }
                None => {
                    let again = self.sweep(&[j], &[], None);
                    Some(self.result(&again[0], count))
                }
            };
            self.accs[j] = v;
        }
        for (p, j) in partials.iter().zip(swept) {
            let v = self.result(p, count);
            self.accs[j] = Some(v);
        }
    }

    /// Whether a reduction may take the row at once, from memory or from a buffer.
    fn reduces_row(&self, j: usize) -> bool {
        let body = self.body;
        let (red, count) = (&body.reds[j], body.col_count());
        let fits = body.cols.len() == 1 && (tile::ROW_MIN..=BLOCK).contains(&count);
        let last = body.axes().count() - 1;
        let there = self.buffers[red.value.ix()].is_some() || self.is_plain_load(red.value, last, DType::F32);
        let changed = on(Mutation::FoldFrom64) || on(Mutation::PlusZero);
        fits && there && !changed && self.reduces_tiles(red.op, red.acc)
    }

    /// Where the row of a value lies.
    fn row_in_memory(&mut self, value: ExprId) -> Option<Value> {
        if let Some(buffer) = self.buffers[value.ix()] {
            return buffer.full.then_some(buffer.base);
        }
        let body = self.body;
        let ExprOp::Load(load) = &body.expr(value).op else { return None };
        let last = body.axes().count() - 1;
        let start = self.imm(0);
        self.axes[last] = Some(start);
        let at = self.address(load.arg, DType::F32, &load.index, 0, 0);
        self.axes[last] = None;
        Some(at)
    }

    /// Takes the columns within the bounds into partial results. They start at a block's start.
    pub fn sweep(&mut self, reds: &[usize], keeps: &[ExprId], bounds: Option<Bounds>) -> Vec<Partial> {
        let body = self.body;
        let count = body.col_count();
        let partials: Vec<Partial> = reds.iter().map(|&j| self.partial(j, count)).collect();
        let first = body.rows.len();
        let axes = first..first + body.cols.len();
        if count == 0 || (reds.is_empty() && keeps.is_empty()) {
            return partials;
        }
        let values: Vec<ExprId> = reds.iter().map(|&j| body.reds[j].value).collect();
        let needed = self.closure(values.iter().chain(keeps).copied());
        // The stage of what is reduced: how many reductions are over.
        let done = values.iter().chain(keeps).map(|v| self.stage[v.ix()] as usize).max().unwrap_or(0);
        // A vector must not straddle lane 255.
        let last = body.cols.last().map_or(1, |a| a.extent);
        let aligned = count <= WIDTH || body.cols.len() == 1 || last.is_multiple_of(LANES as u64);
        let vector = aligned && self.prefers_vector(&needed);
        let tiles = self.takes_tiles(vector);
        let by_tile = |e: &Self, p: &Partial| tiles && e.reduces_tiles(p.op, p.acc);
        let sink = |(p, &value): (&Partial, &ExprId)| Sink { value, op: p.op, to: p.lanes, by_column: false };
        let taken = partials.iter().zip(&values).filter(|(p, _)| by_tile(self, p));
        let sinks: Vec<Sink> = taken.map(sink).collect();
        let rest = partials.iter().zip(&values).filter(|(p, _)| !by_tile(self, p));
        let rest: Vec<(&Partial, ExprId)> = rest.map(|(p, v)| (p, *v)).collect();
        let roots: Vec<ExprId> = rest.iter().map(|r| r.1).collect();
        let after = |e: &mut Emit<'_, '_>, end: Value| e.end_of_block(&partials, end, count);
        let walk = Walk {
            bounds,
            vector,
            roots: &roots,
            done,
            tiles,
            sinks: &sinks,
            keeps,
            after_tile: if tiles { Some(&after) } else { None },
            ..Walk::over(axes.clone(), &needed)
        };
        self.walk(&walk, &|e| {
            let at = e.linear(axes.clone());
            for (p, value) in &rest {
                let v = e.value(*value);
                e.accumulate(p, v, at);
            }
            if !tiles {
                let step = if e.vec_axis.is_some() { LANES as i64 } else { 1 };
                let next = e.b.ins().iadd_imm_s(at, step);
                e.end_of_block(&partials, next, count);
            }
        });
        partials
    }

    fn partial(&mut self, j: usize, count: u64) -> Partial {
        let red = &self.body.reds[j];
        let arg = red.op.is_arg();
        let width = if arg { 1 } else { count.clamp(1, WIDTH).next_power_of_two() };
        let lanes = self.slot(8 * width as u32 + 8);
        let blocks = (count > BLOCK && !arg).then(|| (self.slot(8 * 64), self.slot(8)));
        let p = Partial { op: red.op, acc: red.acc, width, lanes, blocks };
        self.fill(&p);
        if let Some((_, counter)) = p.blocks {
            let zero = self.imm(0);
            self.b.ins().store(MemFlagsData::new().with_notrap(), zero, counter, 0);
        }
        p
    }

    /// Sets all lanes to the identity.
    fn fill(&mut self, p: &Partial) {
        let dtype = slot_dtype(p.acc);
        let identity = self.identity(p.op, p.acc);
        if p.op.is_arg() {
            return self.start_arg(p.acc, p.lanes);
        }
        self.each_lane(p.width, dtype, |e, offset, vector| {
            let at = e.b.ins().iadd(p.lanes, offset);
            if vector {
                e.store_contiguous(dtype, Val::One(identity), at);
            } else {
                e.store_scalar(dtype, identity, at, 0);
            }
        });
    }

    /// The identity as a register value. L8 keeps ops without one out.
    pub fn identity(&mut self, op: RedOp, acc: DType) -> Value {
        let identity = op.identity(acc).filter(|_| !(op == RedOp::Sum && on(Mutation::PlusZero)));
        self.lit(identity.unwrap_or(Lit::zero(acc)))
    }

    /// Calls `f` with byte offsets that cover `n` elements, four at a time if there are as many.
    fn each_lane(&mut self, n: u64, dtype: DType, f: impl Fn(&mut Self, Value, bool)) {
        let size = dtype.size() as u64;
        let lanes = LANES as u64;
        let (step, times) = if n >= 4 * lanes { (4 * lanes, 4) } else { (n.min(lanes), 1) };
        let vector = n >= lanes;
        let step = if vector { step } else { 1 };
        self.repeat_const(0, n * size, step * size, |e, offset| {
            for k in 0..times {
                let at = e.b.ins().iadd_imm_s(offset, (k * lanes * size) as i64);
                f(e, at, vector);
            }
        });
    }

    fn accumulate(&mut self, p: &Partial, v: Val, at: Value) {
        if let Val::Vec(x) = v
            && p.op.is_arg()
            && p.acc == DType::F32
            && self.vec_axis.is_some()
            && self.cpu.level > Level::Portable
        {
            let news = self.may_win(p, x);
            return self.only_if(news, |e| e.take_args(p, v, at));
        }
        self.take_or_combine(p, v, at);
    }

    /// Whether one of four elements may be taken: none is where all are numbers and no better than the best so far.
    fn may_win(&mut self, p: &Partial, x: Value) -> Value {
        let flags = MemFlagsData::new().with_notrap();
        let best = self.load_scalar(DType::F32, p.lanes, 0);
        let best = self.b.ins().splat(types::F32X4, best);
        let (a, b) = if p.op == RedOp::ArgMax { (x, best) } else { (best, x) };
        let worse = self.b.ins().fcmp(FloatCC::LessThanOrEqual, a, b);
        let all = self.b.ins().vall_true(worse);
        let position = self.b.ins().load(types::I64, flags, p.lanes, 8);
        let first = self.b.ins().icmp_imm_s(IntCC::Equal, position, i64::MAX);
        let some = self.b.ins().bxor_imm_u(all, 1);
        self.b.ins().bor(first, some)
    }

    fn take_args(&mut self, p: &Partial, v: Val, at: Value) {
        let lanes = if self.vec_axis.is_some() { LANES } else { 1 };
        for k in 0..lanes {
            let v = self.lane(v, p.acc, k);
            let at = if k == 0 { at } else { self.b.ins().iadd_imm_s(at, k as i64) };
            self.take_arg(p.op, p.acc, p.lanes, v, at);
        }
    }

    fn take_or_combine(&mut self, p: &Partial, v: Val, at: Value) {
        if p.op.is_arg() {
            return self.take_args(p, v, at);
        }
        let dtype = slot_dtype(p.acc);
        let lane = self.b.ins().band_imm_u(at, p.width as i64 - 1);
        let offset = self.b.ins().imul_imm_s(lane, dtype.size() as i64);
        let place = self.b.ins().iadd(p.lanes, offset);
        self.combine_into(p.op, p.acc, place, v);
    }

    /// `memory[place] = op(memory[place], v)`, for four elements in the vector loop.
    pub fn combine_into(&mut self, op: RedOp, acc: DType, place: Value, v: Val) {
        let dtype = slot_dtype(acc);
        if self.vec_axis.is_some() {
            let old = self.load_contiguous(dtype, place);
            let new = self.combine(op, acc, old, v);
            self.store_contiguous(dtype, new, place);
        } else {
            let old = self.load_scalar(dtype, place, 0);
            let v = self.lane(v, acc, 0);
            let new = self.combine(op, acc, Val::One(old), Val::One(v));
            let new = self.lane(new, acc, 0);
            self.store_scalar(dtype, new, place, 0);
        }
    }

    pub fn combine(&mut self, op: RedOp, acc: DType, a: Val, b: Val) -> Val {
        match op.prim() {
            Some(p) => self.prim(p, acc, acc, &[a, b]),
            None => a,
        }
    }

    /// After each 4096 elements: folds the lanes and hands the block's result on. `next` elements are over.
    fn end_of_block(&mut self, partials: &[Partial], next: Value, count: u64) {
        if count <= BLOCK || partials.iter().all(|p| p.blocks.is_none()) {
            return;
        }
        let rest = self.b.ins().band_imm_u(next, BLOCK as i64 - 1);
        let over = self.b.ins().icmp_imm_s(IntCC::Equal, rest, 0);
        let vec_axis = self.vec_axis.take();
        self.only_if(over, |e| {
            for p in partials {
                e.flush(p);
            }
        });
        self.vec_axis = vec_axis;
    }

    /// Folds the lanes into the first, by halves.
    fn fold(&mut self, p: &Partial) -> Value {
        let dtype = slot_dtype(p.acc);
        if p.acc == DType::F32
            && p.width >= LANES as u64
            && !on(Mutation::FoldFrom64)
            && let Some(v) = self.call_fold(p.op, p.lanes, p.width)
        {
            return v;
        }
        let mut w = p.width / if on(Mutation::FoldFrom64) { 4 } else { 2 };
        while w >= 1 {
            let far = w * dtype.size() as u64;
            self.each_lane(w, dtype, |e, offset, vector| {
                let near = e.b.ins().iadd(p.lanes, offset);
                let other = e.b.ins().iadd_imm_s(near, far as i64);
                if vector {
                    let (a, b) = (e.load_contiguous(dtype, near), e.load_contiguous(dtype, other));
                    let v = e.combine(p.op, p.acc, a, b);
                    e.store_contiguous(dtype, v, near);
                } else {
                    let (a, b) = (e.load_scalar(dtype, near, 0), e.load_scalar(dtype, other, 0));
                    let v = e.combine(p.op, p.acc, Val::One(a), Val::One(b));
                    let v = e.lane(v, p.acc, 0);
                    e.store_scalar(dtype, v, near, 0);
                }
            });
            w /= 2;
        }
        self.load_scalar(dtype, p.lanes, 0)
    }

    /// Folds a block and adds it to the pairwise tree: a binary counter whose level k holds 2^k blocks.
    fn flush(&mut self, p: &Partial) {
        let Some((levels, counter)) = p.blocks else { return };
        let dtype = slot_dtype(p.acc);
        let flags = MemFlagsData::new().with_notrap();
        let folded = self.fold(p);
        let blocks = self.b.ins().load(types::I64, flags, counter, 0);
        let next = self.b.ins().iadd_imm_s(blocks, 1);
        self.b.ins().store(flags, next, counter, 0);
        // while blocks & 1 { v = op(level, v); level += 1; blocks >>= 1 }; *level = v
        let (head, more, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let v = self.b.append_block_param(head, reg(p.acc));
        let place = self.b.append_block_param(head, types::I64);
        let left = self.b.append_block_param(head, types::I64);
        self.b.ins().jump(head, &[folded.into(), levels.into(), blocks.into()]);
        self.b.switch_to_block(head);
        let odd = self.b.ins().band_imm_u(left, 1);
        self.b.ins().brif(odd, more, &[], exit, &[]);
        self.b.switch_to_block(more);
        self.b.seal_block(more);
        let old = self.load_scalar(dtype, place, 0);
        let sum = self.combine(p.op, p.acc, Val::One(old), Val::One(v));
        let sum = self.lane(sum, p.acc, 0);
        let up = self.b.ins().iadd_imm_s(place, 8);
        let rest = self.b.ins().ushr_imm_u(left, 1);
        self.b.ins().jump(head, &[sum.into(), up.into(), rest.into()]);
        self.b.seal_block(head);
        self.b.switch_to_block(exit);
        self.b.seal_block(exit);
        self.store_scalar(dtype, v, place, 0);
        self.fill(p);
    }

    /// The result of `count` elements.
    pub fn result(&mut self, p: &Partial, count: u64) -> Value {
        let flags = MemFlagsData::new().with_notrap();
        if p.op.is_arg() {
            return self.b.ins().load(types::I64, flags, p.lanes, 8);
        }
        let Some((levels, _)) = p.blocks else { return self.fold(p) };
        if !count.is_multiple_of(BLOCK) {
            self.flush(p);
        }
        let dtype = slot_dtype(p.acc);
        let mut v: Option<Value> = None;
        for level in set_bits(count.div_ceil(BLOCK)) {
            let x = self.load_scalar(dtype, levels, 8 * level);
            v = Some(match v {
                None => x,
                Some(smaller) => {
                    let sum = self.combine(p.op, p.acc, Val::One(x), Val::One(smaller));
                    self.lane(sum, p.acc, 0)
                }
            });
        }
        v.unwrap_or_else(|| self.identity(p.op, p.acc))
    }

    // ---- ArgMax and ArgMin: the result does not depend on the order, so one pair, in order ----

    /// A pair at `place`: the value, and 8 bytes on the position.
    pub fn start_arg(&mut self, acc: DType, place: Value) {
        let flags = MemFlagsData::new().with_notrap();
        let zero = self.lit(Lit::zero(acc));
        let none = self.imm(i64::MAX);
        self.store_scalar(slot_dtype(acc), zero, place, 0);
        self.b.ins().store(flags, none, place, 8);
    }

    /// Takes a later element if it is the first, greater (ArgMin: less), or the first NaN.
    pub fn take_arg(&mut self, op: RedOp, acc: DType, place: Value, v: Value, at: Value) {
        let flags = MemFlagsData::new().with_notrap();
        let best = self.load_scalar(slot_dtype(acc), place, 0);
        let position = self.b.ins().load(types::I64, flags, place, 8);
        let first = self.b.ins().icmp_imm_s(IntCC::Equal, position, i64::MAX);
        let (x, y) = if op == RedOp::ArgMax { (best, v) } else { (v, best) };
        let better = self.scalar(mlc_ir::loops::Prim::Lt, acc, DType::Bool, &[x, y]);
        let mut take = self.b.ins().bor(first, better);
        if acc.is_float() {
            let nan = self.b.ins().fcmp(FloatCC::Unordered, v, v);
            let was_number = self.b.ins().fcmp(FloatCC::Ordered, best, best);
            let first_nan = self.b.ins().band(nan, was_number);
            take = self.b.ins().bor(take, first_nan);
        }
        let best = self.b.ins().select(take, v, best);
        let position = self.b.ins().select(take, at, position);
        self.store_scalar(slot_dtype(acc), best, place, 0);
        self.b.ins().store(flags, position, place, 8);
    }
}

/// The positions of the set bits, lowest first.
pub fn set_bits(n: u64) -> impl Iterator<Item = i32> {
    (0..64).filter(move |k| n >> k & 1 == 1)
}
