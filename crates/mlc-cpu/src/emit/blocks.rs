//! Long rows in pieces: each stage of row reductions is a phase whose chunks reduce whole blocks of 4096 columns
//! (R4). A chunk leaves its partial results in the call's working memory; the chunks of later phases combine
//! those of their row again, each for itself, by the tree over the blocks.
//!
//! Layout of the working memory: 16 bytes for each reduction, row and piece: the value, and for ArgMax and
//! ArgMin its position 8 bytes on.

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use mlc_ir::loops::{LoopBody, Prim, RedOp};

use super::Emit;
use super::domain::Walk;
use super::reduce::{Partial, slot_dtype};
use super::tails::Tails;
use super::value::Val;
use crate::schedule::stages;

const SLOT: u64 = 16;

/// Bytes for the partial results of all reductions.
pub fn scratch_bytes(body: &LoopBody, cols: u64) -> u64 {
    SLOT * body.reds.len() as u64 * body.row_count() * body.col_count().div_ceil(cols)
}

/// Where the partial results are.
struct Slots {
    base: Value,
    rows: u64,
    pieces: u64,
}

impl Emit<'_, '_> {
    fn slots(&mut self, cols: u64) -> Slots {
        let base = self.shared_memory(scratch_bytes(self.body, cols));
        Slots { base, rows: self.body.row_count(), pieces: self.body.col_count().div_ceil(cols) }
    }

    /// The first slot of a reduction's row.
    fn slots_of(&mut self, s: &Slots, red: usize, row: Value) -> Value {
        let at = self.b.ins().imul_imm_s(row, (s.pieces * SLOT) as i64);
        let at = self.b.ins().iadd(s.base, at);
        self.b.ins().iadd_imm_s(at, (red as u64 * s.rows * s.pieces * SLOT) as i64)
    }

    /// The reductions of one stage.
    pub fn stage(&mut self, stage: usize, cols: u64, begin: Value, end: Value) -> u64 {
        let body = self.body;
        let slots = self.slots(cols);
        let reds = stages(body).swap_remove(stage);
        let needed = self.needed();
        self.emit_level(0, &needed, 0);
        let (rows, count) = (body.rows.len(), body.col_count());
        self.each_chunk(begin, end, |e, c| {
            let (row, at) = e.row_and_piece(&slots, c);
            e.stand_at(0..rows, row, &needed, 0);
            e.load_accs(&slots, reds.start, row, &needed);
            let bounds = e.piece(rows, count, cols, at);
            let partials = e.sweep(&reds.clone().collect::<Vec<_>>(), &[], Some(bounds));
            let offset = e.b.ins().imul_imm_s(at, SLOT as i64);
            let is_last = e.b.ins().icmp_imm_s(IntCC::Equal, at, slots.pieces as i64 - 1);
            let last = count - (slots.pieces - 1) * cols;
            let store_all = |e: &mut Self, count: u64| {
                for (p, j) in partials.iter().zip(reds.clone()) {
                    let place = e.slots_of(&slots, j, row);
                    let place = e.b.ins().iadd(place, offset);
                    e.store_partial(p, count, place);
                }
            };
            e.either(is_last, |e| store_all(e, last), |e| store_all(e, cols));
            e.leave(0..rows);
        });
        slots.rows * slots.pieces
    }

    fn store_partial(&mut self, p: &Partial, count: u64, place: Value) {
        let dtype = slot_dtype(p.acc);
        let flags = MemFlagsData::new().with_notrap();
        let v = self.result(p, count);
        if p.op.is_arg() {
            self.b.ins().store(flags, v, place, 8);
            let best = self.load_scalar(dtype, p.lanes, 0);
            self.store_scalar(dtype, best, place, 0);
        } else {
            self.store_scalar(dtype, v, place, 0);
        }
    }

    /// What is stored, once all stages are over.
    pub fn stores(&mut self, cols: u64, once: bool, begin: Value, end: Value) -> u64 {
        let body = self.body;
        let slots = self.slots(cols);
        let needed = self.needed();
        self.emit_level(0, &needed, 0);
        let (rows, count, all) = (body.rows.len(), body.col_count(), body.reds.len());
        if once {
            self.walk(&Walk::over(0..rows, &needed), &|e| {
                let row = e.linear(0..rows);
                e.load_accs(&slots, all, row, &needed);
                e.row_stores();
            });
            return 1;
        }
        let tails = Tails::new(self, body.row_count());
        self.each_chunk(begin, end, |e, c| {
            let (row, at) = e.row_and_piece(&slots, c);
            e.stand_at(0..rows, row, &needed, 0);
            e.load_accs(&slots, all, row, &needed);
            let bounds = e.piece(rows, count, cols, at);
            e.columns(rows, Some(bounds), all, &tails);
            let first = e.b.ins().icmp_imm_s(IntCC::Equal, at, 0);
            e.only_if(first, |e| e.scoped(Emit::row_stores));
            e.leave(0..rows);
        });
        slots.rows * slots.pieces
    }

    fn row_and_piece(&mut self, s: &Slots, chunk: Value) -> (Value, Value) {
        (self.floor_by(Prim::Div, chunk, s.pieces), self.floor_by(Prim::Rem, chunk, s.pieces))
    }

    /// The row's first reductions from their partial results, and what of the row is known by them.
    fn load_accs(&mut self, s: &Slots, count: usize, row: Value, needed: &[bool]) {
        for j in 0..count {
            let (op, acc) = (self.body.reds[j].op, self.body.reds[j].acc);
            let base = self.slots_of(s, j, row);
            let v =
                if op.is_arg() { self.last_arg(op, acc, base, s) } else { self.tree(j, base, 0, s.pieces) };
            self.accs[j] = Some(v);
        }
        self.emit_level(self.body.rows.len(), needed, count);
    }

    /// The tree over `n` pieces from `first` on: the left half is the largest power of two below `n`.
    fn tree(&mut self, red: usize, base: Value, first: u64, n: u64) -> Value {
        let (op, acc) = (self.body.reds[red].op, self.body.reds[red].acc);
        if n == 1 {
            return self.load_scalar(slot_dtype(acc), base, (first * SLOT) as i32);
        }
        let half = n.next_power_of_two() / 2;
        let left = self.tree(red, base, first, half);
        let right = self.tree(red, base, first + half, n - half);
        let v = self.combine(op, acc, Val::One(left), Val::One(right));
        self.lane(v, acc, 0)
    }

    /// The position that wins over all pieces, taken in order.
    fn last_arg(&mut self, op: RedOp, acc: mlc_ir::DType, base: Value, s: &Slots) -> Value {
        let flags = MemFlagsData::new().with_notrap();
        let best = self.slot(16);
        self.start_arg(acc, best);
        self.repeat_const(0, s.pieces * SLOT, SLOT, |e, offset| {
            let place = e.b.ins().iadd(base, offset);
            let v = e.load_scalar(slot_dtype(acc), place, 0);
            let at = e.b.ins().load(types::I64, flags, place, 8);
            e.take_arg(op, acc, best, v, at);
        });
        self.b.ins().load(types::I64, flags, best, 8)
    }
}
