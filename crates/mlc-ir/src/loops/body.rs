//! Loop bodies: map, row-reduction and column-reduction kernels are one struct.
//!
//! The domain is rows R x columns C. Meaning, for each row in order: for each row reduction in order, sweep C
//! and reduce its value; then sweep C once more for the stores and the tails' values. Expressions are a
//! hash-consed DAG in topological order; [`Analysis`] derives where each can be evaluated.
//!
//! Invariants: the verifier's L1-L11 and L15 ([`super::verify`]).

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::functions::Func;
use super::index::{Atom, AxisId, Index, Load};
use super::kernel::ArgId;
use super::scalar::{Lit, Prim};
use crate::DType;

super::id!(
    /// An expression of one body.
    ExprId, "%");
super::id!(
    /// A row reduction of one body.
    RedId, "acc");

/// A domain axis. Every extent is known when a kernel exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Axis {
    pub extent: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LoopBody {
    pub rows: Vec<Axis>,
    pub cols: Vec<Axis>,
    pub exprs: Vec<Expr>,
    pub reds: Vec<RowRed>,
    pub tails: Vec<Tail>,
    pub stores: Vec<Store>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expr {
    pub op: ExprOp,
    pub dtype: DType,
    /// Index into [`super::Kernel::prov`].
    pub prov: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExprOp {
    Load(Load),
    Const(Lit),
    /// The position on an axis, i64.
    AxisValue(AxisId),
    /// The result of a row reduction.
    Acc(RedId),
    /// Contraction epilogues only: the finished dot product of this element.
    Product,
    Prim(Prim, #[serde(with = "crate::serial::small")] SmallVec<[ExprId; 3]>),
    Fn(Func, #[serde(with = "crate::serial::small")] SmallVec<[ExprId; 3]>),
}

/// Reduces `value` over C to a scalar of the row, by the tree R4. The result has dtype `acc`, ArgMax and
/// ArgMin have i64: the row-major position in C.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowRed {
    pub value: ExprId,
    pub op: RedOp,
    /// The dtype of `value` and of every partial result.
    pub acc: DType,
    pub prov: u32,
}

/// Reduces over R, by the tree R5. Nothing in the kernel reads the result. It is cast to the dtype of `out`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Tail {
    /// One result per column: `out[index]`, over column axes only.
    Col { value: ExprId, op: RedOp, acc: DType, out: ArgId, index: Index, prov: u32 },
    /// One result: `out[index]`, `index` a constant. `value` does not depend on a column.
    RowScalar { value: ExprId, op: RedOp, acc: DType, out: ArgId, index: Index, prov: u32 },
}

/// `arg[index] = value` where the guard holds; each element is written once (L9). Without column axes in
/// `index` the store happens once a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Store {
    pub arg: ArgId,
    pub index: Index,
    pub value: ExprId,
    pub guard: Option<ExprId>,
    pub prov: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RedOp {
    Sum,
    Prod,
    Max,
    Min,
    ArgMax,
    ArgMin,
    And,
    Or,
}

impl RedOp {
    pub const ALL: [RedOp; 8] = [
        RedOp::Sum,
        RedOp::Prod,
        RedOp::Max,
        RedOp::Min,
        RedOp::ArgMax,
        RedOp::ArgMin,
        RedOp::And,
        RedOp::Or,
    ];

    pub fn name(self) -> &'static str {
        match self {
            RedOp::Sum => "sum",
            RedOp::Prod => "prod",
            RedOp::Max => "max",
            RedOp::Min => "min",
            RedOp::ArgMax => "argmax",
            RedOp::ArgMin => "argmin",
            RedOp::And => "and",
            RedOp::Or => "or",
        }
    }

    pub fn from_name(name: &str) -> Option<RedOp> {
        RedOp::ALL.into_iter().find(|r| r.name() == name)
    }

    pub fn is_arg(self) -> bool {
        matches!(self, RedOp::ArgMax | RedOp::ArgMin)
    }

    /// The dtype of the reduction's result.
    pub fn result(self, acc: DType) -> DType {
        if self.is_arg() { DType::I64 } else { acc }
    }

    /// The primitive that combines two partial results; `None` for ArgMax and ArgMin (R6).
    pub fn prim(self) -> Option<Prim> {
        Some(match self {
            RedOp::Sum => Prim::Add,
            RedOp::Prod => Prim::Mul,
            RedOp::Max => Prim::Max,
            RedOp::Min => Prim::Min,
            RedOp::And => Prim::And,
            RedOp::Or => Prim::Or,
            RedOp::ArgMax | RedOp::ArgMin => return None,
        })
    }

    /// The element that changes nothing (L8); `None` where the op does not reduce this dtype. The float
    /// sum's is -0.0: +0.0 would turn a sum of negative zeros positive. ArgMax and ArgMin pair theirs with
    /// the position `i64::MAX`.
    pub fn identity(self, dtype: DType) -> Option<Lit> {
        let float = dtype.is_float();
        let lit = |f: f64, i: i64| Some(if float { Lit::float(dtype, f) } else { Lit::int(dtype, i) });
        match (self, dtype) {
            (RedOp::And, DType::Bool) => Some(Lit::bool(true)),
            (RedOp::Or, DType::Bool) => Some(Lit::bool(false)),
            (RedOp::And | RedOp::Or, _) | (_, DType::Bool) => None,
            (RedOp::Sum, _) => lit(-0.0, 0),
            (RedOp::Prod, _) => lit(1.0, 1),
            (RedOp::Max | RedOp::ArgMax, _) => lit(f64::NEG_INFINITY, int_range(dtype).0),
            (RedOp::Min | RedOp::ArgMin, _) => lit(f64::INFINITY, int_range(dtype).1),
        }
    }
}

fn int_range(dtype: DType) -> (i64, i64) {
    let bits = 8 * dtype.size() as u32;
    match dtype {
        DType::U64 => (0, -1), // wraps to u64::MAX
        d if d.is_signed_int() => (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)),
        _ => (0, (1i64 << (bits & 63)) - 1),
    }
}

impl Tail {
    pub fn value(&self) -> ExprId {
        match self {
            Tail::Col { value, .. } | Tail::RowScalar { value, .. } => *value,
        }
    }

    pub fn op(&self) -> RedOp {
        match self {
            Tail::Col { op, .. } | Tail::RowScalar { op, .. } => *op,
        }
    }

    pub fn acc(&self) -> DType {
        match self {
            Tail::Col { acc, .. } | Tail::RowScalar { acc, .. } => *acc,
        }
    }

    pub fn out(&self) -> ArgId {
        match self {
            Tail::Col { out, .. } | Tail::RowScalar { out, .. } => *out,
        }
    }

    pub fn index(&self) -> &Index {
        match self {
            Tail::Col { index, .. } | Tail::RowScalar { index, .. } => index,
        }
    }

    pub fn prov(&self) -> u32 {
        match self {
            Tail::Col { prov, .. } | Tail::RowScalar { prov, .. } => *prov,
        }
    }
}

impl Expr {
    /// Expressions that this one reads: operands, guard, data-dependent indices.
    pub fn operands(&self) -> SmallVec<[ExprId; 4]> {
        let mut out = SmallVec::new();
        match &self.op {
            ExprOp::Load(load) => {
                out.extend(load.guard);
                out.extend(index_data(&load.index));
            }
            ExprOp::Prim(_, args) | ExprOp::Fn(_, args) => out.extend(args.iter().copied()),
            ExprOp::Const(_) | ExprOp::AxisValue(_) | ExprOp::Acc(_) | ExprOp::Product => {}
        }
        out
    }
}

/// The expressions of an index's `Data` atoms, in the index's order.
pub fn index_data(index: &Index) -> SmallVec<[ExprId; 2]> {
    let mut out = SmallVec::new();
    index.visit(&mut |a| {
        if let Atom::Data(e, _) = a {
            out.push(*e);
        }
    });
    out
}

impl LoopBody {
    /// Stores in `new` whatever is stored in `written`. False if that is nothing.
    pub(super) fn store_again(&mut self, written: ArgId, new: ArgId) -> bool {
        let before = self.stores.len() + self.tails.len();
        let stores = self.stores.iter().filter(|s| s.arg == written).cloned();
        let stores: Vec<Store> = stores.map(|s| Store { arg: new, ..s }).collect();
        let mut tails: Vec<Tail> = self.tails.iter().filter(|t| t.out() == written).cloned().collect();
        for t in &mut tails {
            match t {
                Tail::Col { out, .. } | Tail::RowScalar { out, .. } => *out = new,
            }
        }
        self.stores.extend(stores);
        self.tails.extend(tails);
        self.stores.len() + self.tails.len() > before
    }

    pub fn expr(&self, id: ExprId) -> &Expr {
        &self.exprs[id.ix()]
    }

    /// Forgets where things come from: only what computes stays.
    pub fn clear_prov(&mut self) {
        self.exprs.iter_mut().for_each(|e| e.prov = 0);
        self.reds.iter_mut().for_each(|r| r.prov = 0);
        self.stores.iter_mut().for_each(|s| s.prov = 0);
        for Tail::Col { prov, .. } | Tail::RowScalar { prov, .. } in &mut self.tails {
            *prov = 0;
        }
    }

    /// Rows in the domain; 1 without row axes. Saturates.
    pub fn row_count(&self) -> u64 {
        count(&self.rows)
    }

    /// Columns in the domain; 1 without column axes. Saturates.
    pub fn col_count(&self) -> u64 {
        count(&self.cols)
    }

    /// Rows, then columns: the axis of [`AxisId`] `i` is at `i`.
    pub fn axes(&self) -> impl Iterator<Item = &Axis> {
        self.rows.iter().chain(&self.cols)
    }

    pub fn extent(&self, axis: AxisId) -> Option<u64> {
        self.axes().nth(axis.ix()).map(|a| a.extent)
    }

    pub fn is_col(&self, axis: AxisId) -> bool {
        axis.ix() >= self.rows.len()
    }
}

pub(crate) fn count(axes: &[Axis]) -> u64 {
    axes.iter().fold(1, |n, a| n.saturating_mul(a.extent))
}

/// What an expression depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    Uniform,
    /// Column axes only (a bias).
    ColOnly,
    /// Row axes or a row reduction only.
    Row,
    Elem,
}

impl Space {
    pub fn join(self, other: Space) -> Space {
        match (self, other) {
            (Space::Uniform, s) | (s, Space::Uniform) => s,
            (a, b) if a == b => a,
            _ => Space::Elem,
        }
    }
}

/// Space and stage of each expression. Stage i can be evaluated once reductions `0..i` are done.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    pub space: Vec<Space>,
    pub stage: Vec<u32>,
}

impl Analysis {
    pub fn of(body: &LoopBody) -> Analysis {
        let mut a = Analysis {
            space: Vec::with_capacity(body.exprs.len()),
            stage: Vec::with_capacity(body.exprs.len()),
        };
        for e in &body.exprs {
            let mut space = match &e.op {
                ExprOp::Load(l) => a.index_space(body, &l.index),
                ExprOp::AxisValue(x) => axis_space(body, *x),
                ExprOp::Acc(_) => Space::Row,
                ExprOp::Product => Space::Elem,
                _ => Space::Uniform,
            };
            let mut stage = if let ExprOp::Acc(r) = e.op { r.0 + 1 } else { 0 };
            for o in e.operands() {
                space = space.join(a.space.get(o.ix()).copied().unwrap_or(Space::Elem));
                stage = stage.max(a.stage.get(o.ix()).copied().unwrap_or(0));
            }
            a.space.push(space);
            a.stage.push(stage);
        }
        a
    }

    /// What an index depends on, its data included.
    pub fn index_space(&self, body: &LoopBody, index: &Index) -> Space {
        let mut space = Space::Uniform;
        index.visit(&mut |atom| {
            space = space.join(match atom {
                Atom::Axis(x) => axis_space(body, *x),
                Atom::Quot { .. } => Space::Uniform,
                Atom::Data(e, _) => self.space.get(e.ix()).copied().unwrap_or(Space::Elem),
            })
        });
        space
    }
}

fn axis_space(body: &LoopBody, axis: AxisId) -> Space {
    if body.is_col(axis) { Space::ColOnly } else { Space::Row }
}

/// Builds the expressions of one body: equal expressions become one (the first one's provenance stays).
/// Wrong operand types are bugs of the caller and panic; bodies from text go through the parser instead.
#[derive(Debug, Clone, Default)]
pub struct BodyBuilder {
    body: LoopBody,
    known: FxHashMap<(ExprOp, DType), ExprId>,
    /// The provenance of what is added next.
    pub prov: u32,
}

impl BodyBuilder {
    pub fn new(rows: &[u64], cols: &[u64]) -> BodyBuilder {
        let axes = |extents: &[u64]| extents.iter().map(|&extent| Axis { extent }).collect();
        BodyBuilder {
            body: LoopBody { rows: axes(rows), cols: axes(cols), ..LoopBody::default() },
            ..BodyBuilder::default()
        }
    }

    /// Goes on building a body.
    pub fn resume(body: LoopBody) -> BodyBuilder {
        let known =
            body.exprs.iter().enumerate().map(|(i, e)| ((e.op.clone(), e.dtype), ExprId(i as u32))).collect();
        BodyBuilder { body, known, prov: 0 }
    }

    pub fn body(&self) -> &LoopBody {
        &self.body
    }

    pub fn finish(self) -> LoopBody {
        self.body
    }

    pub fn dtype(&self, e: ExprId) -> DType {
        self.body.expr(e).dtype
    }

    /// The axes of the domain, rows first.
    pub fn axis_ids(&self) -> Vec<AxisId> {
        (0..(self.body.rows.len() + self.body.cols.len()) as u32).map(AxisId).collect()
    }

    /// Adds an expression as it is, or finds it.
    pub(crate) fn push(&mut self, op: ExprOp, dtype: DType) -> ExprId {
        let next = ExprId(self.body.exprs.len() as u32);
        let id = *self.known.entry((op.clone(), dtype)).or_insert(next);
        if id == next {
            self.body.exprs.push(Expr { op, dtype, prov: self.prov });
        }
        id
    }

    pub fn lit(&mut self, lit: Lit) -> ExprId {
        self.push(ExprOp::Const(lit), lit.dtype)
    }

    /// A float constant, rounded once to `dtype`.
    pub fn float(&mut self, dtype: DType, x: f64) -> ExprId {
        self.lit(Lit::float(dtype, x))
    }

    pub fn int(&mut self, dtype: DType, x: i64) -> ExprId {
        self.lit(Lit::int(dtype, x))
    }

    pub fn load(&mut self, arg: ArgId, dtype: DType, index: Index) -> ExprId {
        self.load_guarded(arg, index, None, Lit::zero(dtype))
    }

    /// A load that reads `other` (of the argument's dtype) where `guard` is false.
    pub fn load_guarded(&mut self, arg: ArgId, index: Index, guard: Option<ExprId>, other: Lit) -> ExprId {
        self.push(ExprOp::Load(Load { arg, index, guard, other }), other.dtype)
    }

    pub fn axis_value(&mut self, axis: AxisId) -> ExprId {
        self.push(ExprOp::AxisValue(axis), DType::I64)
    }

    pub fn product(&mut self, dtype: DType) -> ExprId {
        self.push(ExprOp::Product, dtype)
    }

    /// Adds a primitive; `cast` and `bitcast` have their own methods.
    pub fn prim(&mut self, prim: Prim, args: &[ExprId]) -> ExprId {
        self.typed(prim, args, DType::Bool)
    }

    pub fn cast(&mut self, to: DType, x: ExprId) -> ExprId {
        if self.dtype(x) == to { x } else { self.typed(Prim::Cast, &[x], to) }
    }

    pub fn bitcast(&mut self, to: DType, x: ExprId) -> ExprId {
        self.typed(Prim::Bitcast, &[x], to)
    }

    fn typed(&mut self, prim: Prim, args: &[ExprId], target: DType) -> ExprId {
        let types: SmallVec<[DType; 3]> = args.iter().map(|&a| self.dtype(a)).collect();
        let dtype = prim.result(&types, target).unwrap_or_else(|e| panic!("L1: {e}"));
        self.push(ExprOp::Prim(prim, args.into()), dtype)
    }

    pub fn call(&mut self, f: Func, args: &[ExprId]) -> ExprId {
        let types: SmallVec<[DType; 3]> = args.iter().map(|&a| self.dtype(a)).collect();
        let dtype = f.result(&types).unwrap_or_else(|e| panic!("L1: {e}"));
        self.push(ExprOp::Fn(f, args.into()), dtype)
    }

    /// The value of an index as an i64 expression. `Data` atoms are brought into bounds; faults are the
    /// loads' to record.
    pub fn index_value(&mut self, index: &Index) -> ExprId {
        let mut sum = None;
        for (coef, atom) in &index.terms {
            let mut v = match atom {
                Atom::Axis(a) => self.axis_value(*a),
                Atom::Quot { of, div, modulo } => {
                    let mut v = self.index_value(of);
                    if *div != 1 {
                        let d = self.int(DType::I64, *div as i64);
                        v = self.prim(Prim::Div, &[v, d]);
                    }
                    if let Some(m) = modulo {
                        let m = self.int(DType::I64, *m as i64);
                        v = self.prim(Prim::Rem, &[v, m]);
                    }
                    v
                }
                Atom::Data(e, bound) => self.in_bounds(*e, *bound),
            };
            if *coef != 1 {
                let c = self.int(DType::I64, *coef);
                v = self.prim(Prim::Mul, &[v, c]);
            }
            sum = Some(match sum {
                Some(s) => self.prim(Prim::Add, &[s, v]),
                None => v,
            });
        }
        match (sum, index.offset) {
            (None, o) => self.int(DType::I64, o),
            (Some(s), 0) => s,
            (Some(s), o) => {
                let o = self.int(DType::I64, o);
                self.prim(Prim::Add, &[s, o])
            }
        }
    }

    /// A data-dependent index as [`super::Bound`] says.
    fn in_bounds(&mut self, e: ExprId, bound: super::Bound) -> ExprId {
        let mut v = self.cast(DType::I64, e);
        let (zero, extent) = (self.int(DType::I64, 0), bound.extent as i64);
        if bound.wrap {
            let n = self.int(DType::I64, extent);
            let moved = self.prim(Prim::Add, &[v, n]);
            let negative = self.prim(Prim::Lt, &[v, zero]);
            v = self.prim(Prim::Select, &[negative, moved, v]);
        }
        let last = self.int(DType::I64, extent - 1);
        let v = self.prim(Prim::Max, &[v, zero]);
        self.prim(Prim::Min, &[v, last])
    }

    /// `lo <= index < hi` as a guard.
    pub fn in_range(&mut self, index: &Index, lo: i64, hi: i64) -> ExprId {
        let v = self.index_value(index);
        let lo = self.int(DType::I64, lo);
        let hi = self.int(DType::I64, hi);
        let above = self.prim(Prim::Le, &[lo, v]);
        let below = self.prim(Prim::Lt, &[v, hi]);
        self.prim(Prim::And, &[above, below])
    }

    /// Adds a row reduction and returns its result.
    pub fn reduce(&mut self, op: RedOp, value: ExprId) -> ExprId {
        let acc = self.dtype(value);
        self.body.reds.push(RowRed { value, op, acc, prov: self.prov });
        let red = RedId(self.body.reds.len() as u32 - 1);
        self.push(ExprOp::Acc(red), op.result(acc))
    }

    pub fn tail_col(&mut self, op: RedOp, value: ExprId, out: ArgId, index: Index) {
        let acc = self.dtype(value);
        self.body.tails.push(Tail::Col { value, op, acc, out, index, prov: self.prov });
    }

    pub fn tail_scalar(&mut self, op: RedOp, value: ExprId, out: ArgId, offset: i64) {
        let acc = self.dtype(value);
        let index = Index::constant(offset);
        self.body.tails.push(Tail::RowScalar { value, op, acc, out, index, prov: self.prov });
    }

    pub fn store(&mut self, arg: ArgId, index: Index, value: ExprId) {
        self.store_guarded(arg, index, value, None);
    }

    pub fn store_guarded(&mut self, arg: ArgId, index: Index, value: ExprId, guard: Option<ExprId>) {
        self.body.stores.push(Store { arg, index, value, guard, prov: self.prov });
    }
}
