//! The loops of a body: rows, for each row its reductions' sweeps, then the sweep of stores and tails.

use std::ops::Range;

use cranelift::codegen::ir::condcodes::IntCC;
use cranelift::codegen::ir::{InstBuilder, Value};
use mlc_ir::DType;
use mlc_ir::loops::body::index_data;
use mlc_ir::loops::{AxisId, ExprId, ExprOp, Index, LoopBody, Prim, Store, Tail};

use super::tails::Tails;
use super::tiles::{Direct, Sink, TILE_MIN};
use super::value::{has_vec, is_wide};
use super::{Emit, LANES};
use crate::schedule::{Part, stages};

/// What runs after a tile, given its end.
pub type AfterTile<'n> = &'n dyn Fn(&mut Emit<'_, '_>, Value);

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
    /// The innermost loop goes in tiles, of which these take each.
    pub tiles: bool,
    pub sinks: &'n [Sink],
    /// All that the leaf does, where that is storing elements of 32 bits one after another.
    pub direct: &'n [Direct<'n>],
    /// Stores of small floats that are written a tile at a time; the leaf leaves them out.
    pub small: &'n [Direct<'n>],
    /// What must be in the row's buffers in the end, as far as it has one.
    pub keeps: &'n [ExprId],
    /// Runs after each tile, with its end.
    pub after_tile: Option<AfterTile<'n>>,
    /// The leaf may stand in the code several times.
    pub unroll: bool,
}

impl<'n> Walk<'n> {
    /// One by one over whole axes.
    pub fn over(axes: Range<usize>, needed: &'n [bool]) -> Walk<'n> {
        Walk {
            axes,
            bounds: None,
            vector: false,
            needed,
            roots: &[],
            done: 0,
            tiles: false,
            sinks: &[],
            direct: &[],
            small: &[],
            keeps: &[],
            after_tile: None,
            unroll: false,
        }
    }

    /// What the innermost loop needs: the leaf, reductions, and stores.
    pub fn values(&self) -> impl Iterator<Item = ExprId> {
        let small = self.small.iter().map(|d| d.value);
        let sinks = self.sinks.iter().map(|s| s.value);
        self.roots.iter().chain(self.keeps).copied().chain(sinks).chain(small)
    }
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
        // Where a function does whole rows, sweeps can leave values to later ones.
        if matches!(part, Part::Whole | Part::Grid { .. } | Part::Runs { .. }) && !self.body.reds.is_empty() {
            let sweeps = self.sweep_roots();
            self.keep_rows(&sweeps);
        }
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
            self.walk(&Walk::over(0..rows, &needed), &|e| e.row(rows, None, &needed, &tails));
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
                let walk = Walk { bounds, ..Walk::over(axis..rows, &needed) };
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
        let stages = stages(self.body);
        if !stages.is_empty() {
            self.forget_rows();
        }
        for reds in stages {
            let done = reds.end;
            self.reduce_rows(reds);
            self.emit_level(self.body.rows.len(), needed, done);
        }
        self.columns(first, bounds, self.body.reds.len(), tails);
        self.row_stores();
        tails.row(self);
    }

    /// What each sweep over the columns reads: those of the reductions, then that of stores and tails.
    pub fn sweep_roots(&self) -> Vec<Vec<ExprId>> {
        let body = self.body;
        let reds = stages(body).into_iter().map(|r| r.map(|j| body.reds[j].value).collect());
        reds.chain([self.column_roots().into_iter().chain(self.tail_roots()).collect()]).collect()
    }

    /// What the stores of each column read.
    fn column_roots(&self) -> Vec<ExprId> {
        let stores = self.body.stores.iter().enumerate().filter(|(_, s)| !self.once_a_row(s));
        store_roots(&stores.collect::<Vec<_>>())
    }

    fn tail_roots(&self) -> Vec<ExprId> {
        let cols = self.body.tails.iter().filter(|t| matches!(t, Tail::Col { .. }));
        cols.map(Tail::value).collect()
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
        let mut in_sweep: Vec<(usize, &Store)> =
            body.stores.iter().enumerate().filter(|(_, s)| !self.once_a_row(s)).collect();
        let has_cols = body.tails.iter().any(|t| matches!(t, Tail::Col { .. }));
        if body.col_count() == 0 || (in_sweep.is_empty() && !has_cols) {
            return;
        }
        let needed = self.closure(self.column_roots().into_iter().chain(self.tail_roots()));
        let vector = self.prefers_vector(&needed);
        let small = self.take_small(&mut in_sweep, vector);
        let tiles = self.takes_tiles(vector);
        let sinks = if tiles { tails.sinks(self) } else { Vec::new() };
        let mut roots = store_roots(&in_sweep);
        let elements = tails.elements(self, tiles);
        let direct = if elements.is_empty() { self.all_direct(&in_sweep) } else { Vec::new() };
        roots.extend(elements);
        let walk = Walk {
            bounds,
            vector,
            roots: &roots,
            done,
            tiles,
            sinks: &sinks,
            direct: &direct,
            small: &small,
            unroll: true,
            ..Walk::over(first..body.axes().count(), &needed)
        };
        self.walk(&walk, &|e| {
            for (i, s) in &in_sweep {
                let v = e.value(s.value);
                e.store(s.arg, &s.index, v, s.guard, e.sites.stores[*i]);
            }
            tails.element(e, tiles);
        });
    }

    /// The stores, if the elements of each are of 32 bits and lie one after another.
    pub fn all_direct<'s>(&self, stores: &[(usize, &'s Store)]) -> Vec<Direct<'s>> {
        let word = |s: &Store| matches!(self.args[s.arg.ix()].dtype, DType::F32 | DType::I32 | DType::U32);
        let direct = stores.iter().map(|(_, s)| self.direct(s).filter(|_| word(s)));
        direct.collect::<Option<_>>().unwrap_or_default()
    }

    /// A store whose elements lie one after another.
    pub fn direct<'s>(&self, s: &'s Store) -> Option<Direct<'s>> {
        let axis = AxisId(self.body.axes().count().checked_sub(1)? as u32);
        let contiguous = s.index.is_affine() && s.index.coef(axis) == 1;
        (contiguous && s.guard.is_none()).then_some(Direct { arg: s.arg, index: &s.index, value: s.value })
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
        let bounds = walk.bounds.filter(|b| b.axis == a);
        let inside = |e: &mut Self, i: Value| {
            e.axes[a] = Some(i);
            e.emit_level(1 + a, walk.needed, walk.done);
            e.walk_from(walk, a + 1, leaf);
            e.axes[a] = None;
        };
        let innermost = a + 1 == walk.axes.end;
        if !(walk.vector && innermost) {
            return match bounds {
                None => self.repeat_const(0, n, 1, inside),
                Some(Bounds { lo, hi, .. }) => {
                    let any = self.b.ins().icmp(IntCC::SignedLessThan, lo, hi);
                    self.only_if(any, |e| e.repeat(lo, hi, 1, inside));
                }
            };
        }
        let calls = if n >= TILE_MIN { self.tile_calls(walk, a) } else { Vec::new() };
        let (lo, hi) = bounds.map_or_else(|| (self.imm(0), self.imm(n as i64)), |b| (b.lo, b.hi));
        if n >= TILE_MIN && calls.is_empty() && self.direct_pass(walk, a, (lo, hi)) {
            return;
        }
        if walk.tiles || !walk.small.is_empty() || !calls.is_empty() {
            return self.tiled(walk, a, &calls, (lo, hi), leaf);
        }
        let unroll = if walk.unroll { self.unroll(walk.needed, 1 + a, &[]) } else { 1 };
        if bounds.is_some() {
            return self.in_groups(a, lo, hi, unroll, &inside);
        }
        let mut from = 0;
        for width in [unroll, 1].into_iter().filter(|&w| w == 1 || unroll > 1) {
            let step = u64::from(width) * LANES as u64;
            let to = from + (n - from) / step * step;
            self.repeat_const(from, to, step, |e, i| e.in_lanes(a, i, width, &inside));
            from = to;
        }
        self.repeat_const(from, n, 1, inside);
    }

    /// How many times four elements a vector loop does at once: as many as keep the code short.
    pub fn unroll(&self, needed: &[bool], level: usize, known: &[usize]) -> u32 {
        let size = |i: usize| match &self.body.exprs[i].op {
            _ if !needed[i] || self.level[i] != level || known.contains(&i) => 0,
            ExprOp::Fn(..) => 40,
            ExprOp::Load(l) if l.guard.is_some() || !l.index.is_affine() => 20,
            _ if !has_vec(self.body.exprs[i].dtype) => 6,
            _ => 1,
        };
        match (0..needed.len()).map(size).sum::<usize>() {
            0..=16 => 4,
            17..=40 => 2,
            _ => 1,
        }
    }

    /// `inside` for `unroll` times four elements from `i` on.
    fn in_lanes(&mut self, axis: usize, i: Value, unroll: u32, inside: &dyn Fn(&mut Self, Value)) {
        self.vec_axis = Some(axis);
        for u in 0..unroll {
            self.lane_shift = i64::from(u) * LANES as i64;
            self.scoped(|e| inside(e, i));
        }
        self.lane_shift = 0;
        self.vec_axis = None;
    }

    /// `inside` for all of `lo..hi`: `unroll` times four elements at once, then four, then one.
    pub fn in_groups(
        &mut self,
        axis: usize,
        lo: Value,
        hi: Value,
        unroll: u32,
        inside: &dyn Fn(&mut Self, Value),
    ) {
        let mut from = lo;
        for width in [unroll, 1].into_iter().filter(|&w| w == 1 || unroll > 1) {
            let step = i64::from(width) * LANES as i64;
            let count = self.b.ins().isub(hi, from);
            let full = self.b.ins().band_imm_s(count, -step);
            let to = self.b.ins().iadd(from, full);
            let any = self.b.ins().icmp(IntCC::SignedLessThan, from, to);
            self.only_if(any, |e| e.repeat(from, to, step, |e, i| e.in_lanes(axis, i, width, inside)));
            from = to;
        }
        let any = self.b.ins().icmp(IntCC::SignedLessThan, from, hi);
        self.only_if(any, |e| e.repeat(from, hi, 1, inside));
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

/// What stores read.
pub fn store_roots(stores: &[(usize, &Store)]) -> Vec<ExprId> {
    let reads =
        |s: &Store| index_data(&s.index).into_iter().chain(s.guard).chain([s.value]).collect::<Vec<_>>();
    stores.iter().flat_map(|(_, s)| reads(s)).collect()
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
