//! What of a loop is called on tiles: which functions have precompiled code, in which pass each can run, and what is
//! kept for later passes and sweeps. [`super::tiles`] emits the loop.

use cranelift::codegen::ir::Value;
use mlc_ir::DType;
use mlc_ir::loops::{AxisId, ExprId, ExprOp, Func, Prim, Store};

use super::Emit;
use super::domain::Walk;
use super::tiles::{Direct, Part, TILE_MIN};
use crate::tile::{self, TILE};

/// Slots that one loop may use: 16 KiB.
const MAX_SLOTS: usize = 16;
/// Slots of one pass for values that later passes need too.
const MAX_KEPT: usize = 4;
/// Bytes of row buffers.
const MAX_BUFFERS: u64 = 24 << 10;

/// What a call computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// A function of tiles.
    Function(Func),
    /// Random words for consecutive indices.
    Random,
    /// Elements of a small float, one after another in memory, to f32.
    Widen,
    /// A cast to a small float, in f32.
    Round,
    /// A primitive whose result is rounded to a small float; an operand may be the same for the whole tile.
    Rounded(Prim),
}

/// A call that gives a tile of an expression.
pub struct TileCall {
    pub expr: usize,
    pub callee: Callee,
    /// Operands that are tiles, each once.
    pub args: Vec<ExprId>,
    /// Whether the result is rounded to the expression's dtype afterwards.
    pub round: bool,
    /// Calls whose values this one's operands need come in earlier passes.
    pub pass: usize,
}

/// The row's values of an expression.
#[derive(Clone, Copy)]
pub struct Buffer {
    pub base: Value,
    /// An earlier sweep has computed them.
    pub full: bool,
}

impl Emit<'_, '_> {
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
        for i in 0..self.body.exprs.len() {
            let users = needed.iter().filter(|n| n[i]).count();
            let function = matches!(self.body.exprs[i].op, ExprOp::Fn(..));
            let tiled = function && self.level[i] == last && self.callee(i, last - 1).is_some();
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

    /// The innermost expressions that have precompiled code and must be computed.
    pub fn tile_calls(&self, walk: &Walk<'_>, axis: usize) -> Vec<TileCall> {
        let body = self.body;
        let mut calls: Vec<TileCall> = Vec::new();
        let mut slots = 0;
        // For each expression: in which pass its value can be known.
        let mut pass = vec![0; body.exprs.len()];
        let full = |i: usize| self.buffers[i].is_some_and(|b| b.full);
        let known: Vec<usize> = (0..body.exprs.len()).filter(|&i| full(i)).collect();
        let reached = self.closure_up_to(walk.values(), &known);
        let read = |i: usize| {
            let by = |j: usize| reached[j] && body.exprs[j].operands().iter().any(|o| o.ix() == i);
            let as_it_is = walk.roots.iter().copied().chain(walk.sinks.iter().map(|s| s.value));
            as_it_is.into_iter().any(|r| r.ix() == i) || (0..body.exprs.len()).any(by)
        };
        for (i, e) in body.exprs.iter().enumerate() {
            if full(i) {
                continue;
            }
            pass[i] = e.operands().iter().map(|o| pass[o.ix()]).max().unwrap_or(0);
            let here = reached[i] && self.level[i] == 1 + axis && self.stage[i] as usize <= walk.done;
            if !here || self.memo[i].is_some() {
                continue;
            }
            let Some((callee, args)) = self.callee(i, axis) else { continue };
            // What is only stored is rounded on the way there.
            let rounds = is_small(e.dtype) && (self.buffers[i].is_some() || read(i));
            if callee == Callee::Round && !rounds {
                continue;
            }
            // One slot for each operand that is not in memory; one of them takes the result.
            let there = |a: ExprId| {
                let a = self.unwidened(a);
                full(a.ix())
                    || calls.iter().any(|c| c.expr == a.ix())
                    || self.is_plain_load(a, axis, DType::F32)
            };
            let more = args.iter().filter(|&&a| !there(a)).count().max(1);
            if slots + more <= MAX_SLOTS {
                slots += more;
                let round = rounds && matches!(callee, Callee::Function(_));
                calls.push(TileCall { expr: i, callee, args, round, pass: pass[i] });
                pass[i] += 1;
            }
        }
        calls
    }

    /// The precompiled code that computes an expression for a tile along `axis`, and its operands that are tiles.
    fn callee(&self, i: usize, axis: usize) -> Option<(Callee, Vec<ExprId>)> {
        let e = &self.body.exprs[i];
        match &e.op {
            ExprOp::Fn(Func::Philox, args) => {
                tile::random(self.cpu.level)?;
                let [seed, index, site, iteration] = args[..] else { return None };
                let fixed = [seed, site, iteration].iter().all(|a| self.level[a.ix()] <= axis);
                (fixed && self.step_along(index, axis) == Some(1)).then(|| (Callee::Random, Vec::new()))
            }
            ExprOp::Fn(func, args) if is_tiled_float(e.dtype) => {
                tile::code(*func, self.cpu.level)?;
                Some((Callee::Function(*func), once(args)))
            }
            ExprOp::Load(_) if is_small(e.dtype) => {
                tile::small(e.dtype, self.cpu.level)?;
                self.is_plain_load(ExprId(i as u32), axis, e.dtype).then(|| (Callee::Widen, Vec::new()))
            }
            ExprOp::Prim(Prim::Cast, x)
                if is_small(e.dtype) && is_tiled_float(self.body.expr(x[0]).dtype) =>
            {
                tile::small(e.dtype, self.cpu.level)?;
                Some((Callee::Round, x.to_vec()))
            }
            ExprOp::Prim(prim, args) if is_small(e.dtype) => {
                tile::small(e.dtype, self.cpu.level)?.rounded(*prim)?;
                let tiles: Vec<ExprId> = args.iter().copied().filter(|a| self.level[a.ix()] > axis).collect();
                Some((Callee::Rounded(*prim), once(&tiles)))
            }
            _ => None,
        }
    }

    /// Whether these are elements of the dtype that lie one after another along `axis`, always there.
    pub fn is_plain_load(&self, e: ExprId, axis: usize, dtype: DType) -> bool {
        let ExprOp::Load(load) = &self.body.expr(e).op else { return false };
        let contiguous = load.index.is_affine() && load.index.coef(AxisId(axis as u32)) == 1;
        load.guard.is_none() && contiguous && self.args[load.arg.ix()].dtype == dtype
    }

    /// What is cast from a small float to f32 here, if that is what it is: a tile of one is a tile of the other.
    pub fn unwidened(&self, e: ExprId) -> ExprId {
        match &self.body.expr(e).op {
            ExprOp::Prim(Prim::Cast, x)
                if self.body.expr(e).dtype == DType::F32 && is_small(self.body.expr(x[0]).dtype) =>
            {
                x[0]
            }
            _ => e,
        }
    }

    /// Takes out of `stores` those of small floats that are written a tile at a time, in a loop over the last axis.
    pub fn take_small<'s>(&self, stores: &mut Vec<(usize, &'s Store)>, vector: bool) -> Vec<Direct<'s>> {
        let Some(axis) = self.body.axes().count().checked_sub(1) else { return Vec::new() };
        if !vector || self.extents()[axis] < TILE_MIN {
            return Vec::new();
        }
        let mut taken = Vec::new();
        stores.retain(|(_, s)| {
            let here = tile::small(self.args[s.arg.ix()].dtype, self.cpu.level).is_some();
            match self.direct(s) {
                Some(direct) if here && self.level[s.value.ix()] == 1 + axis => {
                    taken.push(direct);
                    false
                }
                _ => true,
            }
        });
        taken
    }

    /// By how much a 64-bit integer grows from one position of the innermost axis to the next, where that is
    /// everywhere the same.
    fn step_along(&self, e: ExprId, axis: usize) -> Option<u64> {
        let expr = self.body.expr(e);
        if self.level[e.ix()] <= axis {
            return Some(0);
        }
        if !matches!(expr.dtype, DType::I64 | DType::U64) {
            return None;
        }
        match &expr.op {
            ExprOp::AxisValue(_) => Some(1),
            ExprOp::Prim(Prim::Cast, x) => self.step_along(x[0], axis),
            ExprOp::Prim(Prim::Add, x) => {
                Some(self.step_along(x[0], axis)?.wrapping_add(self.step_along(x[1], axis)?))
            }
            ExprOp::Prim(Prim::Mul, x) => match self.body.expr(x[1]).op {
                ExprOp::Const(by) => Some(self.step_along(x[0], axis)?.wrapping_mul(by.bits)),
                _ => None,
            },
            _ => None,
        }
    }

    /// What the pass that fills slots for the calls of `pass` computes on its way, and later passes would again: those
    /// values that something else is computed from later, with slots for them. Only what takes longer to compute than
    /// to read.
    pub fn kept_for_later(
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
        let roots: Vec<ExprId> = walk.values().chain(later_args).collect();
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
}

/// Whether tiles of it are f32 in memory.
pub fn is_tiled_float(dtype: DType) -> bool {
    dtype == DType::F32 || is_small(dtype)
}

pub fn is_small(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

fn once(args: &[ExprId]) -> Vec<ExprId> {
    let mut out = args.to_vec();
    out.dedup();
    out
}
