//! The loops of a body: rows, for each row its reductions' sweeps, then the sweep of stores and tails.

use std::ops::Range;

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{InstBuilder, Value};
use mlc_ir::loops::body::index_data;
use mlc_ir::loops::{ExprId, ExprOp, Index, LoopBody, Prim, Store, Tail};

use super::tails::Tails;
use super::value::{has_vec, is_wide};
use super::{Emit, LANES};
use crate::schedule::{Part, stages};

/// Shortest innermost loop in which functions are computed a tile at a time.
const TILE_MIN: u64 = 64;

/// One walk over consecutive axes.
pub struct Walk<'n> {
    pub axes: Range<usize>,
    /// An axis that is not walked over its whole extent.
    pub bounds: Option<Bounds>,
    /// Four elements of the last axis at once.
    pub vector: bool,
    /// What is computed on the way.
    pub needed: &'n [bool],
    /// What of it the leaf reads; empty if it does not matter.
    pub roots: &'n [ExprId],
    /// Row reductions that are over.
    pub done: usize,
}

/// Where one axis starts and ends.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub axis: usize,
    pub lo: Value,
    pub hi: Value,
}

impl Emit<'_, '_> {
    /// Emits a part of the body for a range of its chunks; returns how many there are in all.
    pub fn domain(&mut self, part: Part, begin: Value, end: Value) -> u64 {
        match part {
            Part::Whole => self.whole(),
            Part::Grid { axis, grain } => return self.grid(axis, grain, begin, end),
            Part::Runs { rows } => return self.runs(rows, begin, end),
            Part::Tails { rows } => self.tails(rows),
            Part::Stage { stage, cols } => return self.stage(stage, cols, begin, end),
            Part::Stores { cols, once } => return self.stores(cols, once, begin, end),
            Part::Box => self.boxed(),
            // Only scatters have these.
            Part::Slice { .. } | Part::Fill { .. } => {}
        }
        1
    }

    /// `for c in begin..end { chunk(c) }`
    pub fn each_chunk(&mut self, begin: Value, end: Value, chunk: impl FnOnce(&mut Self, Value)) {
        let any = self.b.ins().icmp(IntCC::UnsignedLessThan, begin, end);
        self.only_if(any, |e| e.repeat(begin, end, 1, chunk));
    }

    /// The bounds of piece `at` of an axis of `n` steps.
    pub fn piece(&mut self, axis: usize, n: u64, grain: u64, at: Value) -> Bounds {
        let lo = self.b.ins().imul_imm_s(at, grain as i64);
        let hi = self.b.ins().iadd_imm_s(lo, grain as i64);
        let last = self.imm(n as i64);
        let past = self.b.ins().icmp(IntCC::SignedGreaterThan, hi, last);
        let hi = self.b.ins().select(past, last, hi);
        Bounds { axis, lo, hi }
    }

    /// What stores, tails and reductions need.
    pub fn needed(&self) -> Vec<bool> {
        let body = self.body;
        let needed = self.closure(self.final_roots().into_iter().chain(body.reds.iter().map(|r| r.value)));
        // Without columns' elements nothing is in bounds, so nothing may be loaded.
        if body.col_count() > 0 { needed } else { self.without_cols(&needed) }
    }

    fn whole(&mut self) {
        let body = self.body;
        let rows = body.rows.len();
        let tails = Tails::new(self, body.row_count());
        tails.start(self);
        if body.row_count() > 0 {
            let needed = self.needed();
            self.emit_level(0, &needed, 0);
            let walk =
                Walk { axes: 0..rows, bounds: None, vector: false, needed: &needed, roots: &[], done: 0 };
            self.walk(&walk, &|e| e.row(rows, None, &needed, &tails));
        }
        tails.finish(self, body.row_count());
    }

    /// A chunk is a piece of one axis at one position of the axes before it.
    fn grid(&mut self, axis: usize, grain: u64, begin: Value, end: Value) -> u64 {
        let body = self.body;
        let rows = body.rows.len();
        let n = self.extents()[axis];
        let pieces = n.div_ceil(grain);
        let outer: u64 = self.extents()[..axis].iter().product();
        if body.row_count() == 0 || body.col_count() == 0 {
            return outer * pieces;
        }
        let needed = self.needed();
        let tails = Tails::new(self, body.row_count());
        self.emit_level(0, &needed, 0);
        self.each_chunk(begin, end, |e, c| {
            let at = if axis == 0 { c } else { e.floor_by(Prim::Rem, c, pieces) };
            if axis > 0 {
                let position = e.floor_by(Prim::Div, c, pieces);
                e.stand_at(0..axis, position, &needed, 0);
            }
            let bounds = Some(e.piece(axis, n, grain, at));
            if axis < rows {
                let axes = axis..rows;
                let walk = Walk { axes, bounds, vector: false, needed: &needed, roots: &[], done: 0 };
                e.walk(&walk, &|e| e.row(rows, bounds, &needed, &tails));
            } else {
                e.row(axis, bounds, &needed, &tails);
            }
            e.leave(0..axis);
        });
        outer * pieces
    }

    /// Sets axes to the row-major position `at` and emits what belongs into their loops.
    pub fn stand_at(&mut self, axes: Range<usize>, at: Value, needed: &[bool], done: usize) {
        let extents = self.extents();
        let mut rest = at;
        for a in axes.clone().rev() {
            let outermost = a == axes.start;
            let here = if outermost { rest } else { self.floor_by(Prim::Rem, rest, extents[a]) };
            self.axes[a] = Some(here);
            if !outermost {
                rest = self.floor_by(Prim::Div, rest, extents[a]);
            }
        }
        for a in axes {
            self.emit_level(1 + a, needed, done);
        }
    }

    pub fn leave(&mut self, axes: Range<usize>) {
        self.axes[axes].fill(None);
    }

    /// What of the needed does not stand in a column loop.
    fn without_cols(&self, needed: &[bool]) -> Vec<bool> {
        let rows = self.body.rows.len();
        needed.iter().enumerate().map(|(i, &n)| n && self.level[i] <= rows).collect()
    }

    /// One row: reductions stage by stage, then stores and tails. `first` is the first axis of its columns that
    /// has no position yet.
    pub fn row(&mut self, first: usize, bounds: Option<Bounds>, needed: &[bool], tails: &Tails) {
        for reds in stages(self.body) {
            let done = reds.end;
            self.reduce_rows(reds);
            self.emit_level(self.body.rows.len(), needed, done);
        }
        self.columns(first, bounds, self.body.reds.len(), tails);
        self.row_stores();
        tails.row(self);
    }

    /// The stores that happen once a row.
    pub fn row_stores(&mut self) {
        let body = self.body;
        for (i, s) in body.stores.iter().enumerate() {
            if !self.once_a_row(s) {
                continue;
            }
            let v = self.value(s.value);
            self.store(s.arg, &s.index, v, s.guard, self.sites.stores[i]);
        }
    }

    /// The sweep of stores and column tails.
    pub fn columns(&mut self, first: usize, bounds: Option<Bounds>, done: usize, tails: &Tails) {
        let body = self.body;
        let in_sweep: Vec<(usize, &Store)> =
            body.stores.iter().enumerate().filter(|(_, s)| !self.once_a_row(s)).collect();
        let has_cols = body.tails.iter().any(|t| matches!(t, Tail::Col { .. }));
        if body.col_count() == 0 || (in_sweep.is_empty() && !has_cols) {
            return;
        }
        let stores = in_sweep.iter().flat_map(|(_, s)| {
            let data = index_data(&s.index);
            data.into_iter().chain(s.guard).chain([s.value])
        });
        let cols = body.tails.iter().filter(|t| matches!(t, Tail::Col { .. })).map(Tail::value);
        let roots: Vec<ExprId> = stores.chain(cols).collect();
        let needed = self.closure(roots.iter().copied());
        let axes = first..body.axes().count();
        let vector = self.prefers_vector(&needed);
        let walk = Walk { axes, bounds, vector, needed: &needed, roots: &roots, done };
        self.walk(&walk, &|e| {
            for (i, s) in &in_sweep {
                let v = e.value(s.value);
                e.store(s.arg, &s.index, v, s.guard, e.sites.stores[*i]);
            }
            tails.element(e);
        });
    }

    /// Whether a store stands after the columns' loop: nothing of it changes with the column.
    fn once_a_row(&self, s: &Store) -> bool {
        once_a_row(self.body, &self.level, s)
    }

    /// Whether the innermost loop has enough work that four lanes help.
    pub fn prefers_vector(&self, needed: &[bool]) -> bool {
        let body = self.body;
        let last = body.axes().count();
        if body.cols.last().is_none_or(|a| a.extent < LANES as u64) {
            return false;
        }
        let (mut good, mut bad) = (0, 0);
        for (i, e) in body.exprs.iter().enumerate().filter(|(i, _)| needed[*i] && self.level[*i] == last) {
            match &e.op {
                ExprOp::AxisValue(_) => {}
                _ if has_vec(e.dtype) || is_wide(e.dtype) => good += 1,
                _ => bad += 1,
            }
            let _ = i;
        }
        good > 0 && good >= bad
    }

    /// Loops over axes, outermost first, and emits `leaf` innermost.
    pub fn walk(&mut self, walk: &Walk<'_>, leaf: &dyn Fn(&mut Self)) {
        self.walk_from(walk, walk.axes.start, leaf);
    }

    fn walk_from(&mut self, walk: &Walk<'_>, a: usize, leaf: &dyn Fn(&mut Self)) {
        if a == walk.axes.end {
            return leaf(self);
        }
        let n = self.extents()[a];
        let inside = |e: &mut Self, i: Value| {
            e.axes[a] = Some(i);
            e.emit_level(1 + a, walk.needed, walk.done);
            e.walk_from(walk, a + 1, leaf);
            e.axes[a] = None;
        };
        let in_lanes = |e: &mut Self, i: Value| {
            e.vec_axis = Some(a);
            inside(e, i);
            e.vec_axis = None;
        };
        let vector = walk.vector && a + 1 == walk.axes.end;
        if vector && n >= TILE_MIN {
            let tile = self.tile_calls(walk, a);
            if !tile.is_empty() {
                let (lo, hi) = match walk.bounds.filter(|b| b.axis == a) {
                    Some(b) => (b.lo, b.hi),
                    None => (self.imm(0), self.imm(n as i64)),
                };
                return self.tiled(walk, a, &tile, lo, hi, leaf);
            }
        }
        match walk.bounds.filter(|b| b.axis == a) {
            None if vector => {
                let full = n / LANES as u64 * LANES as u64;
                self.repeat_const(0, full, LANES as u64, in_lanes);
                self.repeat_const(full, n, 1, inside);
            }
            None => self.repeat_const(0, n, 1, inside),
            Some(Bounds { lo, hi, .. }) if vector => self.in_fours(lo, hi, in_lanes, inside),
            Some(Bounds { lo, hi, .. }) => {
                let any = self.b.ins().icmp(IntCC::SignedLessThan, lo, hi);
                self.only_if(any, |e| e.repeat(lo, hi, 1, inside));
            }
        }
    }

    /// `four(i)` for every fourth of `lo..hi`, then `one(i)` for the rest.
    pub fn in_fours(
        &mut self,
        lo: Value,
        hi: Value,
        four: impl FnOnce(&mut Self, Value),
        one: impl FnOnce(&mut Self, Value),
    ) {
        let count = self.b.ins().isub(hi, lo);
        let full = self.b.ins().band_imm_s(count, -(LANES as i64));
        let to = self.b.ins().iadd(lo, full);
        let any = self.b.ins().icmp(IntCC::SignedLessThan, lo, to);
        self.only_if(any, |e| e.repeat(lo, to, LANES as i64, four));
        let any = self.b.ins().icmp(IntCC::SignedLessThan, to, hi);
        self.only_if(any, |e| e.repeat(to, hi, 1, one));
    }

    /// The row-major position in consecutive axes, lane 0: an i64.
    pub fn linear(&mut self, axes: Range<usize>) -> Value {
        let extents: Vec<u64> = self.extents()[axes.clone()].to_vec();
        let index = Index::row_major(mlc_ir::loops::AxisId(axes.start as u32), &extents);
        let mut site = 0;
        self.offset(&index, 0, 1, &mut site)
    }
}

/// Whether a store happens once a row, after the columns: nothing of it changes with the column.
fn once_a_row(body: &LoopBody, level: &[usize], s: &Store) -> bool {
    let rows = body.rows.len();
    let known = |e: ExprId| level[e.ix()] <= rows;
    let fixed = super::index_level(&s.index) <= rows && index_data(&s.index).into_iter().all(known);
    fixed && known(s.value) && s.guard.is_none_or(known) && !body.cols.is_empty()
}

/// Whether nothing is stored for each column.
pub fn stores_once_a_row(body: &LoopBody) -> bool {
    let level = super::levels(body);
    body.stores.iter().all(|s| once_a_row(body, &level, s))
}
