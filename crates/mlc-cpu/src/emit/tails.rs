//! Reductions over rows by the tree R5: runs of 16 rows in memory, combined pairwise by a binary counter.
//!
//! Layout in the call's working memory: for each tail the current run, one value a column (ArgMax and ArgMin:
//! pairs of 16 bytes, and nothing else), then the counter's levels, each as long.

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use mlc_ir::DType;
use mlc_ir::loops::{LoopBody, Prim, RedOp, Tail};

use super::domain::Walk;
use super::reduce::{set_bits, slot_dtype};
use super::value::Val;
use super::{Emit, LANES};

/// Rows of a run.
const RUN: u64 = 16;

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

/// The working memory of one tail.
struct Layout {
    count: u64,
    stride: u64,
    bytes: u64,
}

impl Layout {
    fn of(tail: &Tail, rows: u64, cols: u64) -> Layout {
        let (op, runs) = (tail.op(), rows.div_ceil(RUN));
        let count = if matches!(tail, Tail::Col { .. }) { cols } else { 1 };
        let size = if op.is_arg() { 16 } else { slot_dtype(tail.acc()).size() as u64 };
        let stride = (count * size).next_multiple_of(64);
        let levels = if op.is_arg() || runs <= 1 { 0 } else { u64::from(runs.ilog2()) + 1 };
        Layout { count, stride, bytes: stride * (1 + levels) }
    }
}

/// Bytes of working memory that a body's code needs.
pub fn scratch_bytes(body: &LoopBody) -> u64 {
    let (rows, cols) = (body.row_count(), body.col_count());
    body.tails.iter().map(|t| Layout::of(t, rows, cols).bytes.next_multiple_of(64)).sum()
}

/// The tails of a body, and its number of rows.
pub struct Tails<'a>(Vec<One<'a>>, u64);

impl<'a> Tails<'a> {
    pub fn new(e: &mut Emit<'a, '_>) -> Tails<'a> {
        let body = e.body;
        let rows = body.row_count();
        let ones = body.tails.iter().map(|tail| {
            let layout = Layout::of(tail, rows, body.col_count());
            let (op, acc) = (tail.op(), tail.acc());
            One { tail, op, acc, count: layout.count, run: e.scratch(layout.bytes), stride: layout.stride }
        });
        Tails(ones.collect(), rows)
    }

    /// Before the first row.
    pub fn start(&self, e: &mut Emit<'a, '_>) {
        for t in &self.0 {
            e.start_run(t);
        }
    }

    /// One element, or four, in the columns' loop.
    pub fn element(&self, e: &mut Emit<'_, '_>) {
        for t in self.0.iter().filter(|t| matches!(t.tail, Tail::Col { .. })) {
            let first = e.body.rows.len();
            let column = e.linear(first..first + e.body.cols.len());
            let v = e.value(t.tail.value());
            e.add_to_run(t, column, v);
        }
    }

    /// The end of a row.
    pub fn row(&self, e: &mut Emit<'_, '_>) {
        if self.0.is_empty() {
            return;
        }
        for t in self.0.iter().filter(|t| matches!(t.tail, Tail::RowScalar { .. })) {
            let v = e.value(t.tail.value());
            let zero = e.imm(0);
            e.add_to_run(t, zero, v);
        }
        if self.1 <= RUN {
            return;
        }
        let row = e.linear(0..e.body.rows.len());
        let in_run = e.b.ins().band_imm_u(row, RUN as i64 - 1);
        let over = e.b.ins().icmp_imm_s(IntCC::Equal, in_run, RUN as i64 - 1);
        e.only_if(over, |e| {
            let runs = e.b.ins().ushr_imm_u(row, 4);
            for t in &self.0 {
                e.end_run(t, runs);
            }
        });
    }

    /// After the last row: the results.
    pub fn finish(&self, e: &mut Emit<'_, '_>) {
        let rows = self.1;
        if rows > RUN && !rows.is_multiple_of(RUN) {
            let runs = e.imm((rows / RUN) as i64);
            for t in &self.0 {
                e.end_run(t, runs);
            }
        }
        for (i, t) in self.0.iter().enumerate() {
            let site = e.sites.tails[i];
            let needed = vec![false; e.body.exprs.len()];
            let first = e.body.rows.len();
            let axes = match t.tail {
                Tail::Col { .. } => first..first + e.body.cols.len(),
                Tail::RowScalar { .. } => first..first,
            };
            let vector =
                !t.op.is_arg() && !axes.is_empty() && e.body.cols.last().is_some_and(|a| a.extent >= 4);
            let walk =
                Walk { axes: axes.clone(), bounds: None, vector, needed: &needed, roots: &[], done: 0 };
            if axes.is_empty() || t.count > 0 {
                e.walk(&walk, &|e| {
                    let column = e.linear(axes.clone());
                    let v = e.run_result(t, column, rows);
                    let to = e.args[t.tail.out().ix()].dtype;
                    let v = e.prim(Prim::Cast, t.op.result(t.acc), to, &[v]);
                    e.store(t.tail.out(), t.tail.index(), v, None, site);
                });
            }
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
            e.combine_at(t.op, t.acc, old, new, vector);
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

    /// `memory[b] = op(memory[a], memory[b])`
    fn combine_at(&mut self, op: RedOp, acc: DType, a: Value, b: Value, vector: bool) {
        let dtype = slot_dtype(acc);
        if vector {
            let (x, y) = (self.load_contiguous(dtype, a), self.load_contiguous(dtype, b));
            let v = self.combine(op, acc, x, y);
            self.store_contiguous(dtype, v, b);
        } else {
            let (x, y) = (self.load_scalar(dtype, a, 0), self.load_scalar(dtype, b, 0));
            let v = self.combine(op, acc, Val::One(x), Val::One(y));
            let v = self.lane(v, acc, 0);
            self.store_scalar(dtype, v, b, 0);
        }
    }

    /// The result for a column (four in the vector loop).
    fn run_result(&mut self, t: &One<'_>, column: Value, rows: u64) -> Val {
        if t.op.is_arg() {
            let offset = self.b.ins().imul_imm_s(column, 16);
            let place = self.b.ins().iadd(t.run, offset);
            return Val::One(self.b.ins().load(types::I64, MemFlagsData::new().with_notrap(), place, 8));
        }
        let dtype = slot_dtype(t.acc);
        let offset = self.b.ins().imul_imm_s(column, dtype.size() as i64);
        let place = self.b.ins().iadd(t.run, offset);
        let read = |e: &mut Self, at: Value| {
            if e.vec_axis.is_some() {
                e.load_contiguous(dtype, at)
            } else {
                Val::One(e.load_scalar(dtype, at, 0))
            }
        };
        if rows <= RUN {
            return read(self, place);
        }
        let mut v: Option<Val> = None;
        for level in set_bits(rows.div_ceil(RUN)) {
            let at = self.b.ins().iadd_imm_s(place, (t.stride * (1 + level as u64)) as i64);
            let x = read(self, at);
            v = Some(match v {
                None => x,
                Some(smaller) => self.combine(t.op, t.acc, x, smaller),
            });
        }
        v.unwrap_or_else(|| read(self, place))
    }
}
