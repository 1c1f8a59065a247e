//! Building graphs node by node: what the front end, autodiff and passes use.

use mlc_diag::Diagnostic;

use super::{Graph, Phase, Prov, ValueId};
use crate::op::{
    Broadcast, Cast, Concat, Constant, Contract, DimScalar, Elementwise, Gather, Iota, Literal, Op, Pad,
    Reduce, ReduceKind, Reshape, ScalarFn, ScatterAdd, Slice, Transpose,
};
use crate::types::{DType, Device, Dim, Shape, Type};

type R = Result<ValueId, Diagnostic>;

/// Adds nodes with one provenance. Errors are the ops' type rules'.
pub struct GraphBuilder<'g> {
    pub graph: &'g mut Graph,
    pub prov: Prov,
    /// Where nodes without operands go, once the graph is placed.
    pub device: Option<Device>,
}

impl<'g> GraphBuilder<'g> {
    pub fn new(graph: &'g mut Graph, prov: Prov) -> Self {
        GraphBuilder { graph, prov, device: None }
    }

    pub fn on(mut self, device: Option<Device>) -> Self {
        self.device = device;
        self
    }

    pub fn phase(mut self, phase: Phase) -> Self {
        self.prov.phase = phase;
        self
    }

    pub fn ty(&self, v: ValueId) -> &Type {
        self.graph.ty(v)
    }

    pub fn shape(&self, v: ValueId) -> Shape {
        self.graph.ty(v).shape.clone()
    }

    /// The first result of a new node.
    pub fn op(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> R {
        let v = self.graph.add(op.into(), operands, self.prov)?.value();
        if let (None, Some(device)) = (self.ty(v).device, self.device) {
            let ty = self.ty(v).clone().on(device);
            self.graph.set_type(v, ty);
        }
        Ok(v)
    }

    pub fn map(&mut self, f: ScalarFn, operands: &[ValueId]) -> R {
        self.op(Elementwise { f }, operands)
    }

    pub fn add(&mut self, a: ValueId, b: ValueId) -> R {
        self.map(ScalarFn::Add, &[a, b])
    }

    pub fn sub(&mut self, a: ValueId, b: ValueId) -> R {
        self.map(ScalarFn::Sub, &[a, b])
    }

    pub fn mul(&mut self, a: ValueId, b: ValueId) -> R {
        self.map(ScalarFn::Mul, &[a, b])
    }

    pub fn div(&mut self, a: ValueId, b: ValueId) -> R {
        self.map(ScalarFn::Div, &[a, b])
    }

    pub fn neg(&mut self, a: ValueId) -> R {
        self.map(ScalarFn::Neg, &[a])
    }

    pub fn select(&mut self, c: ValueId, a: ValueId, b: ValueId) -> R {
        self.map(ScalarFn::Select, &[c, a, b])
    }

    /// The operand itself where it has the dtype already.
    pub fn cast(&mut self, v: ValueId, to: DType) -> R {
        if self.ty(v).dtype == to { Ok(v) } else { self.op(Cast { to }, &[v]) }
    }

    pub fn constant(&mut self, value: Literal) -> R {
        self.op(Constant { value }, &[])
    }

    pub fn scalar(&mut self, dtype: DType, value: f64) -> R {
        self.constant(Literal::scalar(dtype, value))
    }

    /// A constant of one value with the dtype and shape of `like`.
    pub fn full_like(&mut self, like: ValueId, value: f64) -> R {
        let (dtype, shape) = (self.ty(like).dtype, self.shape(like));
        let v = self.scalar_near(like, dtype, value)?;
        self.broadcast(v, shape, vec![])
    }

    /// A scalar constant on the device of `like`.
    pub fn scalar_near(&mut self, like: ValueId, dtype: DType, value: f64) -> R {
        let device = self.ty(like).device.or(self.device);
        let saved = std::mem::replace(&mut self.device, device);
        let v = self.scalar(dtype, value);
        self.device = saved;
        v
    }

    pub fn dim(&mut self, dim: Dim) -> R {
        self.op(DimScalar { dim }, &[])
    }

    pub fn iota(&mut self, dtype: DType, shape: Shape, axis: usize) -> R {
        self.op(Iota { dtype, shape, axis }, &[])
    }

    /// See [`Broadcast`]; the operand itself where nothing changes.
    pub fn broadcast(&mut self, v: ValueId, shape: Shape, axes: Vec<usize>) -> R {
        if self.ty(v).shape == shape { Ok(v) } else { self.op(Broadcast { shape, axes }, &[v]) }
    }

    /// Stretches by NumPy's rule: axes align at the end, only dims of 1 stretch.
    pub fn broadcast_to(&mut self, v: ValueId, shape: &Shape) -> R {
        let rank = self.ty(v).rank();
        let first = shape.len().saturating_sub(rank);
        self.broadcast(v, shape.clone(), (first..first + rank).collect())
    }

    pub fn reshape(&mut self, v: ValueId, shape: Shape) -> R {
        if self.ty(v).shape == shape { Ok(v) } else { self.op(Reshape { shape }, &[v]) }
    }

    pub fn transpose(&mut self, v: ValueId, perm: Vec<usize>) -> R {
        if perm.iter().copied().eq(0..perm.len()) { Ok(v) } else { self.op(Transpose { perm }, &[v]) }
    }

    /// `start : limit` along one axis.
    pub fn slice_axis(&mut self, v: ValueId, axis: usize, start: Dim, limit: Dim) -> R {
        let shape = self.shape(v);
        let mut starts = vec![Dim::ZERO; shape.len()];
        let mut limits: Vec<Dim> = shape.to_vec();
        (starts[axis], limits[axis]) = (start, limit);
        self.op(Slice { starts, limits, steps: vec![1; shape.len()] }, &[v])
    }

    pub fn pad(&mut self, v: ValueId, low: Vec<Dim>, high: Vec<Dim>, fill: ValueId) -> R {
        self.op(Pad { low, high }, &[v, fill])
    }

    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> R {
        if let [one] = parts { Ok(*one) } else { self.op(Concat { axis }, parts) }
    }

    /// Drops `axes`; the operand itself for no axes.
    pub fn reduce(&mut self, kind: ReduceKind, v: ValueId, axes: Vec<usize>) -> R {
        if axes.is_empty() { Ok(v) } else { self.op(Reduce { kind, axes }, &[v]) }
    }

    pub fn sum(&mut self, v: ValueId, axes: Vec<usize>) -> R {
        self.reduce(ReduceKind::Sum, v, axes)
    }

    pub fn sum_all(&mut self, v: ValueId) -> R {
        let rank = self.ty(v).rank();
        self.sum(v, (0..rank).collect())
    }

    /// Undoes a reduction's dropping of axes: repeats `v` along `axes` of `shape`.
    pub fn unreduce(&mut self, v: ValueId, shape: &Shape, axes: &[usize]) -> R {
        let kept = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
        self.broadcast(v, shape.clone(), kept)
    }

    pub fn contract(
        &mut self,
        a: ValueId,
        b: ValueId,
        batch: Vec<(usize, usize)>,
        sum: Vec<(usize, usize)>,
    ) -> R {
        self.op(Contract { batch, sum }, &[a, b])
    }

    pub fn gather(&mut self, x: ValueId, axes: Vec<usize>, indices: &[ValueId], wrap: bool) -> R {
        let operands: Vec<ValueId> = std::iter::once(x).chain(indices.iter().copied()).collect();
        self.op(Gather { axes, wrap }, &operands)
    }

    pub fn scatter_add(
        &mut self,
        x: ValueId,
        axes: Vec<usize>,
        indices: &[ValueId],
        src: ValueId,
        wrap: bool,
    ) -> R {
        let operands: Vec<ValueId> = std::iter::once(x).chain(indices.iter().copied()).chain([src]).collect();
        self.op(ScatterAdd { axes, wrap }, &operands)
    }
}
