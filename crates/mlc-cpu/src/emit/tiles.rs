//! Functions a tile at a time. The innermost loop goes over tiles of 256 elements; in each, the operands of the
//! functions are computed into slots on the stack, precompiled code ([`crate::tile`]) replaces them by the
//! functions' values, and the last pass over the tile reads those.
//!
//! ```text
//! for i { y[i] = exp(x[i] - m) * c }
//!     ->  for tile { for i { slot[i] = x[i] - m };  exp(slot);  for i { y[i] = slot[i] * c } }
//! ```
//! A function of another's value takes a pass of its own. The same operations on the same elements: only the
//! vector width differs, which does not show.

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{InstBuilder, Value};
use mlc_ir::DType;
use mlc_ir::loops::{ExprId, ExprOp, Func};

use super::Emit;
use super::domain::Walk;
use super::value::Val;
use crate::symbols::Symbol;
use crate::tile::{self, TILE};

/// Slots that one loop may use: 16 KiB.
const MAX_SLOTS: usize = 16;

/// A function call that works on tiles.
pub struct TileCall {
    expr: usize,
    func: Func,
    args: Vec<ExprId>,
    /// Calls whose values this one's operands need come in earlier passes.
    pass: usize,
}

impl Emit<'_, '_> {
    /// The innermost functions that have precompiled code.
    pub fn tile_calls(&self, walk: &Walk<'_>, axis: usize) -> Vec<TileCall> {
        let body = self.body;
        let mut calls: Vec<TileCall> = Vec::new();
        let mut slots = 0;
        // For each expression: in which pass its value can be known.
        let mut pass = vec![0; body.exprs.len()];
        for (i, e) in body.exprs.iter().enumerate() {
            pass[i] = e.operands().iter().map(|o| pass[o.ix()]).max().unwrap_or(0);
            let here = walk.needed[i] && self.level[i] == 1 + axis && self.stage[i] as usize <= walk.done;
            let small = matches!(e.dtype, DType::F32 | DType::F16 | DType::BF16);
            let ExprOp::Fn(func, args) = &e.op else { continue };
            if here
                && small
                && tile::code(*func, self.cpu.level).is_some()
                && self.memo[i].is_none()
                && slots + args.len() <= MAX_SLOTS
            {
                slots += args.len();
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
        lo: Value,
        hi: Value,
        leaf: &dyn Fn(&mut Self),
    ) {
        let bytes = 4 * TILE as u32;
        let slots: Vec<Vec<Value>> =
            calls.iter().map(|c| c.args.iter().map(|_| self.slot(bytes)).collect()).collect();
        let passes = calls.iter().map(|c| c.pass + 1).max().unwrap_or(0);
        let any = self.b.ins().icmp(IntCC::SignedLessThan, lo, hi);
        self.only_if(any, |e| {
            e.repeat(lo, hi, TILE as i64, |e, start| {
                let end = e.b.ins().iadd_imm_s(start, TILE as i64);
                let past = e.b.ins().icmp(IntCC::SignedGreaterThan, end, hi);
                let end = e.b.ins().select(past, hi, end);
                let known = |pass: usize| -> Vec<usize> {
                    (0..calls.len()).filter(|&c| calls[c].pass < pass).collect()
                };
                for pass in 0..passes {
                    let now: Vec<usize> = (0..calls.len()).filter(|&c| calls[c].pass == pass).collect();
                    let roots: Vec<ExprId> = now.iter().flat_map(|&c| calls[c].args.clone()).collect();
                    let part = Part { calls, slots: &slots, known: known(pass), roots: &roots, axis, start };
                    e.tile_pass(walk, &part, end, &|e| {
                        for &c in &now {
                            for (&arg, &slot) in calls[c].args.iter().zip(&slots[c]) {
                                let v = e.value(arg);
                                e.put_in_tile(&part, slot, v);
                            }
                        }
                    });
                    let count = e.b.ins().isub(end, start);
                    for &c in &now {
                        e.call_tile(calls[c].func, &slots[c], count);
                    }
                }
                let known = known(passes);
                let part = Part { calls, slots: &slots, known, roots: walk.roots, axis, start };
                e.tile_pass(walk, &part, end, leaf);
            });
        });
    }

    /// One pass over a tile.
    fn tile_pass(&mut self, walk: &Walk<'_>, part: &Part<'_>, end: Value, leaf: &dyn Fn(&mut Self)) {
        let known: Vec<usize> = part.known.iter().map(|&c| part.calls[c].expr).collect();
        let needed = self.closure_up_to(part.roots.iter().copied(), &known);
        let inside = |e: &mut Self, i: Value| {
            e.axes[part.axis] = Some(i);
            for &c in &part.known {
                let v = e.take_from_tile(part, part.slots[c][0]);
                let expr = part.calls[c].expr;
                // Computed in f32; smaller floats round once more.
                let dtype = e.body.exprs[expr].dtype;
                let v = e.prim(mlc_ir::loops::Prim::Cast, DType::F32, dtype, &[v]);
                e.memo[expr] = Some(v);
                e.trail.push(expr);
            }
            e.emit_level(1 + part.axis, &needed, walk.done);
            leaf(e);
            e.axes[part.axis] = None;
        };
        let in_lanes = |e: &mut Self, i: Value| {
            e.vec_axis = Some(part.axis);
            inside(e, i);
            e.vec_axis = None;
        };
        self.in_fours(part.start, end, in_lanes, inside);
    }

    fn tile_place(&mut self, part: &Part<'_>, slot: Value) -> Value {
        let i = self.axis(part.axis);
        let at = self.b.ins().isub(i, part.start);
        let offset = self.b.ins().ishl_imm_u(at, 2);
        self.b.ins().iadd(slot, offset)
    }

    fn put_in_tile(&mut self, part: &Part<'_>, slot: Value, v: Val) {
        let place = self.tile_place(part, slot);
        if self.vec_axis.is_some() {
            self.store_contiguous(DType::F32, v, place);
        } else {
            let v = self.lane(v, DType::F32, 0);
            self.store_scalar(DType::F32, v, place, 0);
        }
    }

    fn take_from_tile(&mut self, part: &Part<'_>, slot: Value) -> Val {
        let place = self.tile_place(part, slot);
        if self.vec_axis.is_some() {
            self.load_contiguous(DType::F32, place)
        } else {
            Val::One(self.load_scalar(DType::F32, place, 0))
        }
    }

    /// Replaces the first slot by the function of the slots.
    fn call_tile(&mut self, func: Func, slots: &[Value], count: Value) {
        let second = slots.get(1).copied().unwrap_or(slots[0]);
        self.call(Symbol::Tile(func), &[slots[0], slots[0], second, count]);
    }
}

/// What one pass over a tile knows and computes.
struct Part<'p> {
    calls: &'p [TileCall],
    slots: &'p [Vec<Value>],
    /// Calls whose values are there.
    known: Vec<usize>,
    roots: &'p [ExprId],
    axis: usize,
    start: Value,
}
