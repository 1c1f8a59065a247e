//! Reductions over rows by the tree R5: runs of 16 rows in memory, combined pairwise by a binary counter.
//!
//! Layout in the thread's working memory: for each tail the current run, one value a column (ArgMax and ArgMin:
//! pairs of 16 bytes, and nothing else), then the counter's levels, each as long. Where the rows are cut into
//! chunks, each leaves its result as one such array in the call's working memory, and the last phase combines
//! those in order: a chunk is an aligned power of two of runs, so that is the same tree.

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use mlc_ir::DType;
use mlc_ir::loops::{ExprId, LoopBody, Prim, RedOp, Tail};

use super::domain::{Bounds, Walk};
use super::reduce::{set_bits, slot_dtype};
use super::tiles::Sink;
use super::value::Val;
use super::{Emit, LANES};
use crate::schedule::{RUN, tail_len};

struct One<'a> {
    tail: &'a Tail,
    op: RedOp,
    acc: DType,
    /// Columns: 1 for a scalar.
    count: u64,
    run: Value,
    /// Bytes from one array to the next.
    stride: u64,
}

impl One<'_> {
    fn is_col(&self) -> bool {
        matches!(self.tail, Tail::Col { .. })
    }

    fn takes_tiles(&self, e: &Emit<'_, '_>) -> bool {
        self.is_col() && e.reduces_tiles(self.op, self.acc)
    }
}

/// The working memory of one tail.
struct Layout {
    count: u64,
    stride: u64,
    /// For the run and the counter.
    bytes: u64,
}

impl Layout {
    fn of(tail: &Tail, rows: u64, cols: u64) -> Layout {
        let (op, runs) = (tail.op(), rows.div_ceil(RUN));
        let count = tail_len(tail, cols);
        let size = if op.is_arg() { 16 } else { slot_dtype(tail.acc()).size() as u64 };
        let stride = (count * size).next_multiple_of(64);
        let levels = if op.is_arg() || runs <= 1 { 0 } else { u64::from(runs.ilog2()) + 1 };
        Layout { count, stride, bytes: stride * (1 + levels) }
    }
}

/// Bytes of working memory of the thread that takes up to `rows` rows.
pub fn own_bytes(body: &LoopBody, rows: u64) -> u64 {
    body.tails.iter().map(|t| Layout::of(t, rows, body.col_count()).bytes).sum()
}

/// Bytes of working memory of the call, for the partial results of chunks of `rows` rows.
pub fn partial_bytes(body: &LoopBody, rows: u64) -> u64 {
    let chunks = body.row_count().div_ceil(rows);
    body.tails.iter().map(|t| chunks * Layout::of(t, rows, body.col_count()).stride).sum()
}

/// The tails of a body, and how many rows they see at most.
pub struct Tails<'a> {
    ones: Vec<One<'a>>,
    rows: u64,
}

impl<'a> Tails<'a> {
    pub fn new(e: &mut Emit<'a, '_>, rows: u64) -> Tails<'a> {
        let mut run = e.own_memory(own_bytes(e.body, rows));
        let ones = Tails::placed(e, rows, |e, layout| {
            let here = run;
            run = e.b.ins().iadd_imm_s(run, layout.bytes as i64);
            here
        });
        Tails { ones, rows }
    }

    /// With runs where `place` says.
    fn placed(
        e: &mut Emit<'a, '_>,
        rows: u64,
        mut place: impl FnMut(&mut Emit<'a, '_>, Layout) -> Value,
    ) -> Vec<One<'a>> {
        let body = e.body;
        let one = |tail: &'a Tail| {
            let layout = Layout::of(tail, rows, body.col_count());
            let (count, stride) = (layout.count, layout.stride);
            One { tail, op: tail.op(), acc: tail.acc(), count, run: place(e, layout), stride }
        };
        body.tails.iter().map(one).collect()
    }

    /// Before the first row.
    pub fn start(&self, e: &mut Emit<'_, '_>) {
        for t in &self.ones {
            e.start_run(t);
        }
    }

    /// The tails that whole tiles go to.
    pub fn sinks(&self, e: &Emit<'_, '_>) -> Vec<Sink> {
        let by_tile = self.ones.iter().filter(|t| t.takes_tiles(e));
        by_tile.map(|t| Sink { value: t.tail.value(), op: t.op, to: t.run, by_column: true }).collect()
    }

    /// What the other tails read in the columns' loop, which goes in tiles or does not.
    pub fn elements(&self, e: &Emit<'_, '_>, tiles: bool) -> Vec<ExprId> {
        let here = self.ones.iter().filter(|t| t.is_col() && !(tiles && t.takes_tiles(e)));
        here.map(|t| t.tail.value()).collect()
    }

    /// One element, or four, in the columns' loop.
    pub fn element(&self, e: &mut Emit<'_, '_>, tiles: bool) {
        for t in self.ones.iter().filter(|t| t.is_col()) {
            if tiles && t.takes_tiles(e) {
                continue;
            }
            let first = e.body.rows.len();
            let column = e.linear(first..first + e.body.cols.len());
            let v = e.value(t.tail.value());
            e.add_to_run(t, column, v);
        }
    }

    /// The end of a row.
    pub fn row(&self, e: &mut Emit<'_, '_>) {
        if self.ones.is_empty() {
            return;
        }
        for t in self.ones.iter().filter(|t| matches!(t.tail, Tail::RowScalar { .. })) {
            let v = e.value(t.tail.value());
            let zero = e.imm(0);
            e.add_to_run(t, zero, v);
        }
        if self.rows <= RUN {
            return;
        }
        let row = e.linear(0..e.body.rows.len());
        let in_run = e.b.ins().band_imm_u(row, RUN as i64 - 1);
        let over = e.b.ins().icmp_imm_s(IntCC::Equal, in_run, RUN as i64 - 1);
        e.only_if(over, |e| {
            let mut runs = e.b.ins().ushr_imm_u(row, 4);
            if self.rows < e.body.row_count() {
                // A chunk starts at a multiple of its runs, a power of two.
                runs = e.b.ins().band_imm_u(runs, (self.rows / RUN) as i64 - 1);
            }
            for t in &self.ones {
                e.end_run(t, runs);
            }
        });
    }

    /// Hands a last run that is not full on, of `rows` rows in all.
    fn flush(&self, e: &mut Emit<'_, '_>, rows: u64) {
        if self.rows > RUN && !rows.is_multiple_of(RUN) {
            let runs = e.imm((rows / RUN) as i64);
            for t in &self.ones {
                e.end_run(t, runs);
            }
        }
    }

    /// After the last of `rows` rows: the results.
    pub fn finish(&self, e: &mut Emit<'_, '_>, rows: u64) {
        self.flush(e, rows);
        for (i, t) in self.ones.iter().enumerate() {
            let site = e.sites.tails[i];
            let needed = vec![false; e.body.exprs.len()];
            let first = e.body.rows.len();
            let axes = match t.tail {
                Tail::Col { .. } => first..first + e.body.cols.len(),
                Tail::RowScalar { .. } => first..first,
            };
            let vector =
                !t.op.is_arg() && !axes.is_empty() && e.body.cols.last().is_some_and(|a| a.extent >= 4);
            let walk = Walk { vector, ..Walk::over(axes.clone(), &needed) };
            if axes.is_empty() || t.count > 0 {
                e.walk(&walk, &|e| {
                    let column = e.linear(axes.clone());
                    let v = e.column_result(t, column, self.levels(rows));
                    let to = e.args[t.tail.out().ix()].dtype;
                    let v = e.prim(Prim::Cast, t.op.result(t.acc), to, &[v]);
                    e.store(t.tail.out(), t.tail.index(), v, None, site);
                });
            }
        }
    }

    /// The counter's levels that hold the result of `rows` rows; none if the run itself does.
    fn levels(&self, rows: u64) -> Vec<i32> {
        if self.rows <= RUN { Vec::new() } else { set_bits(rows.div_ceil(RUN)).collect() }
    }

    /// After the last row of a chunk: leaves the results as partial results of chunk `at`.
    fn leave_partials(&self, e: &mut Emit<'_, '_>, rows: u64, partials: &[Value], at: Value) {
        self.flush(e, rows);
        let levels = self.levels(rows);
        for (t, &partials) in self.ones.iter().zip(partials) {
            let offset = e.b.ins().imul_imm_s(at, t.stride as i64);
            let partial = e.b.ins().iadd(partials, offset);
            let dtype = slot_dtype(t.acc);
            e.each_column(t, |e, offset, vector| {
                let (from, to) = (e.b.ins().iadd(t.run, offset), e.b.ins().iadd(partial, offset));
                let v = e.result_at(t, from, &levels, vector);
                e.put(dtype, v, to, vector);
                if t.op.is_arg() {
                    let flags = MemFlagsData::new().with_notrap();
                    let position = e.b.ins().load(types::I64, flags, from, 8);
                    e.b.ins().store(flags, position, to, 8);
                }
            });
        }
    }
}

impl<'a> Emit<'a, '_> {
    /// Where the chunks' partial results of each tail start.
    fn partials(&mut self, rows: u64) -> Vec<Value> {
        let body = self.body;
        let chunks = body.row_count().div_ceil(rows);
        let mut at = self.shared_memory(partial_bytes(body, rows));
        let mut next = |t: &Tail| {
            let here = at;
            let stride = Layout::of(t, rows, body.col_count()).stride;
            at = self.b.ins().iadd_imm_s(at, (chunks * stride) as i64);
            here
        };
        body.tails.iter().map(&mut next).collect()
    }

    /// A chunk is up to `rows` rows, an aligned power of two of runs.
    pub fn runs(&mut self, rows: u64, begin: Value, end: Value) -> u64 {
        let (body, all) = (self.body, self.body.row_count());
        let (row_axes, cols) = (body.rows.len(), body.rows.len());
        let chunks = all.div_ceil(rows);
        let tails = Tails::new(self, rows);
        let partials = self.partials(rows);
        let needed = self.needed();
        self.emit_level(0, &needed, 0);
        self.each_chunk(begin, end, |e, c| {
            tails.start(e);
            let Bounds { lo, hi, .. } = e.piece(0, all, rows, c);
            e.repeat(lo, hi, 1, |e, row| {
                e.stand_at(0..row_axes, row, &needed, 0);
                e.row(cols, None, &needed, &tails);
                e.leave(0..row_axes);
            });
            let is_last = e.b.ins().icmp_imm_s(IntCC::Equal, c, chunks as i64 - 1);
            let last = all - (chunks - 1) * rows;
            e.either(
                is_last,
                |e| tails.leave_partials(e, last, &partials, c),
                |e| tails.leave_partials(e, rows, &partials, c),
            );
        });
        chunks
    }

    /// The tails' results from the partial ones of chunks of `rows` rows.
    pub fn tails(&mut self, rows: u64) {
        let chunks = self.body.row_count().div_ceil(rows);
        let mut partials = self.partials(rows).into_iter();
        let base = self.imm(0);
        let ones = Tails::placed(self, rows, |_, _| partials.next().unwrap_or(base));
        for t in &ones {
            self.combine_partials(t, chunks);
        }
        // The first array now holds the results as a run does.
        Tails { ones, rows: 1 }.finish(self, 1);
    }

    /// Combines arrays pairwise, neighbours first, until the first holds the result of all.
    fn combine_partials(&mut self, t: &One<'_>, chunks: u64) {
        let mut width = 1;
        while width < chunks {
            // Pairs (i, i + width) for every even multiple i of the width that has a partner.
            let (step, far) = (2 * width * t.stride, width * t.stride);
            self.repeat_const(0, (chunks - width) * t.stride, step, |e, first| {
                let left = e.b.ins().iadd(t.run, first);
                let right = e.b.ins().iadd_imm_s(left, far as i64);
                e.each_column(t, |e, offset, vector| {
                    let (a, b) = (e.b.ins().iadd(left, offset), e.b.ins().iadd(right, offset));
                    e.combine_at(t, a, b, a, vector);
                });
            });
            width *= 2;
        }
    }
}

impl Emit<'_, '_> {
    /// Calls `f` with byte offsets over a tail's columns, four at a time and then one by one.
    fn each_column(&mut self, t: &One<'_>, f: impl Fn(&mut Self, Value, bool)) {
        if t.op.is_arg() {
            return self.repeat_const(0, t.count * 16, 16, |e, o| f(e, o, false));
        }
        let size = slot_dtype(t.acc).size() as u64;
        let four = LANES as u64;
        let full = t.count / four * four;
        self.repeat_const(0, full * size, four * size, |e, o| f(e, o, true));
        self.repeat_const(full * size, t.count * size, size, |e, o| f(e, o, false));
    }

    fn start_run(&mut self, t: &One<'_>) {
        let dtype = slot_dtype(t.acc);
        let identity = self.identity(t.op, t.acc);
        self.each_column(t, |e, offset, vector| {
            let place = e.b.ins().iadd(t.run, offset);
            match (t.op.is_arg(), vector) {
                (true, _) => e.start_arg(t.acc, place),
                (_, true) => e.store_contiguous(dtype, Val::One(identity), place),
                _ => e.store_scalar(dtype, identity, place, 0),
            }
        });
    }

    fn add_to_run(&mut self, t: &One<'_>, column: Value, v: Val) {
        if t.op.is_arg() {
            let row = self.linear(0..self.body.rows.len());
            let offset = self.b.ins().imul_imm_s(column, 16);
            let place = self.b.ins().iadd(t.run, offset);
            let lanes = if self.vec_axis.is_some() { LANES } else { 1 };
            for k in 0..lanes {
                let v = self.lane(v, t.acc, k);
                let place = self.b.ins().iadd_imm_s(place, 16 * k as i64);
                self.take_arg(t.op, t.acc, place, v, row);
            }
            return;
        }
        let offset = self.b.ins().imul_imm_s(column, slot_dtype(t.acc).size() as i64);
        let place = self.b.ins().iadd(t.run, offset);
        self.combine_into(t.op, t.acc, place, v);
    }

    /// Adds the run to the counter, which holds `runs` runs, and starts the next.
    fn end_run(&mut self, t: &One<'_>, runs: Value) {
        if t.op.is_arg() {
            return;
        }
        let dtype = slot_dtype(t.acc);
        let (head, more, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let level = self.b.append_block_param(head, types::I64);
        let left = self.b.append_block_param(head, types::I64);
        let first = self.b.ins().iadd_imm_s(t.run, t.stride as i64);
        self.b.ins().jump(head, &[first.into(), runs.into()]);
        self.b.switch_to_block(head);
        let odd = self.b.ins().band_imm_u(left, 1);
        self.b.ins().brif(odd, more, &[], exit, &[]);
        self.b.switch_to_block(more);
        self.b.seal_block(more);
        self.each_column(t, |e, offset, vector| {
            let (old, new) = (e.b.ins().iadd(level, offset), e.b.ins().iadd(t.run, offset));
            e.combine_at(t, old, new, new, vector);
        });
        let up = self.b.ins().iadd_imm_s(level, t.stride as i64);
        let rest = self.b.ins().ushr_imm_u(left, 1);
        self.b.ins().jump(head, &[up.into(), rest.into()]);
        self.b.seal_block(head);
        self.b.switch_to_block(exit);
        self.b.seal_block(exit);
        self.each_column(t, |e, offset, vector| {
            let (to, from) = (e.b.ins().iadd(level, offset), e.b.ins().iadd(t.run, offset));
            if vector {
                let v = e.load_contiguous(dtype, from);
                e.store_contiguous(dtype, v, to);
            } else {
                let v = e.load_scalar(dtype, from, 0);
                e.store_scalar(dtype, v, to, 0);
            }
        });
        self.start_run(t);
    }

    /// `memory[to] = op(memory[a], memory[b])`
    fn combine_at(&mut self, t: &One<'_>, a: Value, b: Value, to: Value, vector: bool) {
        let dtype = slot_dtype(t.acc);
        if t.op.is_arg() {
            // In place: the later result is taken into the earlier one.
            let v = self.load_scalar(dtype, b, 0);
            let at = self.b.ins().load(types::I64, MemFlagsData::new().with_notrap(), b, 8);
            return self.take_arg(t.op, t.acc, to, v, at);
        }
        let (x, y) = (self.get(dtype, a, vector), self.get(dtype, b, vector));
        let v = self.combine(t.op, t.acc, x, y);
        self.put(dtype, v, to, vector);
    }

    fn get(&mut self, dtype: DType, at: Value, vector: bool) -> Val {
        if vector { self.load_contiguous(dtype, at) } else { Val::One(self.load_scalar(dtype, at, 0)) }
    }

    fn put(&mut self, dtype: DType, v: Val, at: Value, vector: bool) {
        if vector {
            self.store_contiguous(dtype, v, at);
        } else {
            let v = self.lane(v, dtype, 0);
            self.store_scalar(dtype, v, at, 0);
        }
    }

    /// The result for a column (four in the vector loop).
    fn column_result(&mut self, t: &One<'_>, column: Value, levels: Vec<i32>) -> Val {
        if t.op.is_arg() {
            let offset = self.b.ins().imul_imm_s(column, 16);
            let place = self.b.ins().iadd(t.run, offset);
            return Val::One(self.b.ins().load(types::I64, MemFlagsData::new().with_notrap(), place, 8));
        }
        let offset = self.b.ins().imul_imm_s(column, slot_dtype(t.acc).size() as i64);
        let place = self.b.ins().iadd(t.run, offset);
        self.result_at(t, place, &levels, self.vec_axis.is_some())
    }

    /// The value in the run, or what the levels hold together.
    fn result_at(&mut self, t: &One<'_>, place: Value, levels: &[i32], vector: bool) -> Val {
        let dtype = slot_dtype(t.acc);
        if t.op.is_arg() {
            return self.get(dtype, place, false);
        }
        let mut v: Option<Val> = None;
        for &level in levels {
            let at = self.b.ins().iadd_imm_s(place, (t.stride * (1 + level as u64)) as i64);
            let x = self.get(dtype, at, vector);
            v = Some(match v {
                None => x,
                Some(smaller) => self.combine(t.op, t.acc, x, smaller),
            });
        }
        v.unwrap_or_else(|| self.get(dtype, place, vector))
    }
}
