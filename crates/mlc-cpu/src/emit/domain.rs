//! The loops of a body: rows, for each row its reductions' sweeps, then the sweep of stores and tails.

use std::ops::Range;

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{InstBuilder, Value};
use mlc_ir::loops::body::index_data;
use mlc_ir::loops::{ExprId, ExprOp, Index, Store, Tail};

use super::tails::Tails;
use super::value::{has_vec, is_wide};
use super::{Emit, LANES};

/// Shortest innermost loop in which functions are computed a tile at a time.
const TILE_MIN: u64 = 64;
/// Elements of work that one chunk of a map has at least.
const GRAIN: u64 = 16384;

/// One walk over consecutive axes.
pub struct Walk<'n> {
    pub axes: Range<usize>,
    /// Bounds of the first axis, if not its whole extent.
    pub bounds: Option<(Value, Value)>,
    /// Four elements of the last axis at once.
    pub vector: bool,
    /// What is computed on the way.
    pub needed: &'n [bool],
    /// What of it the leaf reads; empty if it does not matter.
    pub roots: &'n [ExprId],
    /// Row reductions that are over.
    pub done: usize,
}

impl Emit<'_, '_> {
    /// Emits the whole body and returns the number of chunks.
    pub fn domain(&mut self, begin: Value, end: Value) -> u64 {
        let body = self.body;
        let rows = body.rows.len();
        let tails = Tails::new(self);
        tails.start(self);
        let red_values = body.reds.iter().map(|r| r.value);
        let needed = self.closure(self.final_roots().into_iter().chain(red_values));
        let mut chunks = 1;
        if body.row_count() > 0 && (body.col_count() > 0 || rows > 0) {
            // Without rows and columns' elements nothing is in bounds, so nothing may be loaded.
            let chunked = body.tails.is_empty() && (rows > 0 || body.reds.is_empty()) && body.col_count() > 0;
            let bounds = if chunked { self.chunk(begin, end, &mut chunks) } else { None };
            let live: Vec<bool> =
                if body.col_count() > 0 { needed.clone() } else { self.without_cols(&needed) };
            self.emit_level(0, &live, 0);
            if rows > 0 {
                let walk = Walk { axes: 0..rows, bounds, vector: false, needed: &live, roots: &[], done: 0 };
                self.walk(&walk, &|e| e.row(None, &live, &tails));
            } else {
                self.row(bounds, &live, &tails);
            }
        } else if body.row_count() > 0 {
            // One row without columns: stores once a row still happen.
            let live = self.without_cols(&needed);
            self.emit_level(0, &live, 0);
            self.row(None, &live, &tails);
        }
        tails.finish(self);
        chunks
    }

    /// What of the needed does not stand in a column loop.
    fn without_cols(&self, needed: &[bool]) -> Vec<bool> {
        let rows = self.body.rows.len();
        needed.iter().enumerate().map(|(i, &n)| n && self.level[i] <= rows).collect()
    }

    /// Bounds of the outermost axis for a range of chunks.
    fn chunk(&mut self, begin: Value, end: Value, chunks: &mut u64) -> Option<(Value, Value)> {
        let extents = self.extents();
        let (&n, inner) = extents.split_first()?;
        let per = inner.iter().fold(1u64, |a, &b| a.saturating_mul(b)).max(1);
        let grain = GRAIN.div_ceil(per).max(1);
        if n <= grain {
            return None;
        }
        *chunks = n.div_ceil(grain);
        let lo = self.b.ins().imul_imm_s(begin, grain as i64);
        let hi = self.b.ins().imul_imm_s(end, grain as i64);
        let last = self.imm(n as i64);
        let past = self.b.ins().icmp(IntCC::SignedGreaterThan, hi, last);
        let hi = self.b.ins().select(past, last, hi);
        Some((lo, hi))
    }

    /// One row: reductions stage by stage, then stores and tails.
    fn row(&mut self, bounds: Option<(Value, Value)>, needed: &[bool], tails: &Tails) {
        let body = self.body;
        let rows = body.rows.len();
        let mut done = 0;
        while done < body.reds.len() {
            let ready = |e: &Self, j: usize| e.stage[body.reds[j].value.ix()] as usize <= done;
            let end = (done + 1..body.reds.len()).find(|&j| !ready(self, j)).unwrap_or(body.reds.len());
            self.reduce_rows(done..end);
            done = end;
            self.emit_level(rows, needed, done);
        }
        self.columns(bounds, done, tails);
        for (i, s) in body.stores.iter().enumerate() {
            if !self.once_a_row(s) {
                continue;
            }
            let v = self.value(s.value);
            self.store(s.arg, &s.index, v, s.guard, self.sites.stores[i]);
        }
        tails.row(self);
    }

    /// The sweep of stores and column tails.
    fn columns(&mut self, bounds: Option<(Value, Value)>, done: usize, tails: &Tails) {
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
        let first = body.rows.len();
        let axes = first..first + body.cols.len();
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
        let body = self.body;
        let rows = body.rows.len();
        let known = |e: ExprId| self.level[e.ix()] <= rows;
        let fixed = super::index_level(&s.index) <= rows && index_data(&s.index).into_iter().all(known);
        fixed && known(s.value) && s.guard.is_none_or(known) && !body.cols.is_empty()
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
                let (lo, hi) = walk.bounds.filter(|_| a == walk.axes.start).unwrap_or_else(|| {
                    let zero = self.imm(0);
                    (zero, self.imm(n as i64))
                });
                return self.tiled(walk, a, &tile, lo, hi, leaf);
            }
        }
        match walk.bounds.filter(|_| a == walk.axes.start) {
            None if vector => {
                let full = n / LANES as u64 * LANES as u64;
                self.repeat_const(0, full, LANES as u64, in_lanes);
                self.repeat_const(full, n, 1, inside);
            }
            None => self.repeat_const(0, n, 1, inside),
            Some((lo, hi)) if vector => self.in_fours(lo, hi, in_lanes, inside),
            Some((lo, hi)) => {
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
