//! Reading and adding at computed indices.

use mlc_diag::Diagnostic;

use super::coords::row_major;
use super::{
    Coords, Cost, Cx, Domain, Draft, Element, Emitter, Lower, Need, OwnKernel, Rule, View, Weight, extents,
};
use crate::DType;
use crate::graph::{Graph, Node, ValueId};
use crate::loops::{Atom, Bound, ExprId, Index, Init, Kind, Mode, RedOp, Scatter};
use crate::op::{Gather, Op, ScatterAdd};

impl Lower for Gather {
    fn rule(&self) -> Rule<'_> {
        Rule::Element(self)
    }
}

/// An element at data-dependent coordinates.
impl Element for Gather {
    fn element(&self, e: &mut Emitter<'_>, node: &Node, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let at = indexed(e, node, &self.axes, self.wrap, coords)?;
        e.value(node.operands[0], &at)
    }

    /// What is read from data stands as expression 0.
    fn reads(&self, graph: &Graph, node: &Node, i: usize, coords: &[Index]) -> Option<Coords> {
        let x = extents(graph, node.operands[0]).ok()?;
        let rank = extents(graph, node.operands[1]).ok()?.len();
        let first = self.axes[0];
        let at = &coords[first..first + rank];
        if i > 0 {
            return Some(at.into());
        }
        let data = |k: usize, extent: u64| {
            let known = position(graph, node.operands[1 + k], at, extent);
            known.unwrap_or_else(|| Index::term(1, Atom::Data(ExprId(0), Bound { extent, wrap: self.wrap })))
        };
        Some(places(&self.axes, rank, &x, coords, data))
    }

    fn cost(&self, node: &Node) -> Cost {
        Cost { exprs: 2 * node.operands.len() as u32, weight: Weight::Cheap }
    }
}

impl Lower for ScatterAdd {
    fn rule(&self) -> Rule<'_> {
        Rule::Kernel(self)
    }
}

/// Over the source's elements; the destination starts as a copy of the first operand.
impl OwnKernel for ScatterAdd {
    fn kernel(&self, cx: Cx<'_>, v: ValueId) -> Result<Draft, Diagnostic> {
        let node = cx.graph.node(v.node);
        let (x, src) = (node.operands[0], node.operands[node.operands.len() - 1]);
        let source = cx.shape(src)?;
        super::domain::refined(&source, |domain: &Domain| {
            let mut e = Emitter::new(cx, &[], &domain.all_extents());
            let prov = {
                e.at(v.node);
                e.body.prov
            };
            let coords = domain.coords();
            let value = e.value(src, &coords)?;
            let at = indexed(&mut e, node, &self.axes, self.wrap, &coords)?;
            let index = row_major(&at, &cx.shape(x)?);
            let zero = is_zero(cx.graph, x);
            let dest = e.write_arg(v, if zero { Mode::Write } else { Mode::ReadWrite })?;
            let body = e.take_body();
            let kind = Kind::ScatterAdd(Scatter {
                body,
                value,
                index,
                guard: None,
                dest,
                init: if zero { Init::Zero } else { Init::Existing },
                op: RedOp::Sum,
                prov,
            });
            let (mut draft, quotients) = e.finish("scatter_add", kind);
            draft.starts_as = (!zero).then_some(x);
            Ok((draft, quotients))
        })
    }

    fn need(&self, graph: &Graph, node: &Node, i: usize) -> Need {
        match i {
            0 if is_zero(graph, node.operands[0]) => Need::Unused,
            0 => Need::Dense,
            _ => Need::Inline,
        }
    }
}

/// Is the value +0 everywhere, for certain?
pub fn is_zero(graph: &Graph, v: ValueId) -> bool {
    match &graph.node(super::base(graph, v).node).op {
        Op::Constant(c) => super::uniform(&c.value).is_some_and(|lit| lit.bits == 0),
        _ => false,
    }
}

/// The coordinates in the first operand of the element at `coords` of the gather's result (the scatter's
/// source).
fn indexed(
    e: &mut Emitter<'_>,
    node: &Node,
    axes: &[usize],
    wrap: bool,
    coords: &[Index],
) -> Result<Coords, Diagnostic> {
    let x = e.shape(node.operands[0])?;
    let rank = e.shape(node.operands[1])?.len();
    let at: Coords = coords[axes[0]..axes[0] + rank].into();
    let mut found = Vec::with_capacity(axes.len());
    for (k, &axis) in axes.iter().enumerate() {
        if x[axis] == 0 {
            let title = format!("axis {axis} has no elements to index");
            return Err(Diagnostic::error("E0205", title).label(node.prov.span, ""));
        }
        let index = node.operands[1 + k];
        found.push(match position(e.cx.graph, index, &at, x[axis]) {
            Some(known) => known,
            None => {
                let data: ExprId = e.value(index, &at)?;
                Index::term(1, Atom::Data(data, Bound { extent: x[axis], wrap }))
            }
        });
    }
    Ok(places(axes, rank, &x, coords, |k, _| found[k].clone()))
}

/// The index tensors' axes stand where the first indexed axis was; `found(k, extent)` is the place on the
/// indexed axis `k`.
fn places(
    axes: &[usize],
    rank: usize,
    x: &[u64],
    coords: &[Index],
    found: impl Fn(usize, u64) -> Index,
) -> Coords {
    let first = axes[0];
    let mut rest = coords[first + rank..].iter();
    let mut out: Coords = coords[..first].into();
    for (axis, &extent) in x.iter().enumerate().skip(first) {
        out.push(match axes.iter().position(|&a| a == axis) {
            Some(k) => found(k, extent),
            None => rest.next().cloned().unwrap_or_default(),
        });
    }
    out
}

/// The value of an index tensor at `coords` where it counts positions of an axis (an iota), which needs no
/// data. It lies in `[0, extent)`.
fn position(graph: &Graph, index: ValueId, coords: &[Index], extent: u64) -> Option<Index> {
    let wide = |d: DType| matches!(d, DType::I64 | DType::I32 | DType::U64 | DType::U32);
    let (mut v, mut coords): (ValueId, Coords) = (index, coords.into());
    loop {
        let node = graph.node(v.node);
        match &node.op {
            Op::Iota(iota) => {
                let len = extents(graph, v).ok()?.get(iota.axis).copied()?;
                let fits = wide(iota.dtype) && len <= extent && len <= i32::MAX as u64;
                return fits.then(|| coords[iota.axis].clone());
            }
            Op::Cast(c) if wide(c.to) => v = node.operands[0],
            // Views that only place axes: no quotients.
            Op::Broadcast(b) => {
                let (from, to) = (extents(graph, node.operands[0]).ok()?, extents(graph, v).ok()?);
                coords = b.coords(&from, &to, &coords, &[]);
                v = node.operands[0];
            }
            Op::Transpose(t) => {
                let (from, to) = (extents(graph, node.operands[0]).ok()?, extents(graph, v).ok()?);
                coords = t.coords(&from, &to, &coords, &[]);
                v = node.operands[0];
            }
            _ => return None,
        }
    }
}
