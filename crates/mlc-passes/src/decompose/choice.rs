//! D6: a scatter of at most one source to each place is a choice.
//!
//! The gradient of `gather(logp, label)` adds each row's cotangent into a matrix of zeros, at the column that
//! its label names. A row has one source, so nothing is ever summed:
//!
//! ```text
//! %3 = scatter_add 0, iota, %label, %g {axes=[0,1]}     %3 = where(iota == clamp(%label), 0 + %g, 0)
//! ```
//!
//! which is a map that fuses with what follows. Places are known to differ where every axis of the index
//! tensors is the position on an axis of the result (an iota). Indices out of range are brought into it, as a
//! scatter does; that they are *reported* is left to a gather by the same indices, without which the scatter
//! stays.

use mlc_ir::graph::{Graph, GraphBuilder, Node, NodeId, ValueId};
use mlc_ir::lower::{base, extents, is_zero};
use mlc_ir::op::{Op, ScalarFn, ScatterAdd};
use mlc_ir::{DType, Shape};
use rustc_hash::FxHashSet;

use super::R;

/// The scatters whose indices some gather of an equally shaped value reads too.
pub fn checked(graph: &Graph) -> FxHashSet<NodeId> {
    let gathers = graph.ids().filter_map(|n| match &graph.node(n).op {
        Op::Gather(g) => {
            let node = graph.node(n);
            Some((
                g.axes.clone(),
                g.wrap,
                node.operands[1..].to_vec(),
                extents(graph, node.operands[0]).ok()?,
            ))
        }
        _ => None,
    });
    let known: FxHashSet<_> = gathers.collect();
    let scatters = graph.ids().filter(|&n| match &graph.node(n).op {
        Op::ScatterAdd(s) => {
            let operands = &graph.node(n).operands;
            let indices = operands[1..operands.len() - 1].to_vec();
            let shape = extents(graph, operands[0]);
            shape.is_ok_and(|x| known.contains(&(s.axes.clone(), s.wrap, indices, x)))
        }
        _ => false,
    });
    scatters.collect()
}

/// The choice that stands for the scatter `node`, whose operands are in the graph; `None` where sources may
/// share a place.
pub fn choice(b: &mut GraphBuilder<'_>, s: &ScatterAdd, node: &Node) -> R<Option<ValueId>> {
    let (x, src) = (node.operands[0], node.operands[node.operands.len() - 1]);
    let Some(zero) = zero(b.graph, x) else { return Ok(None) };
    let shape = b.shape(x);
    let (first, rank) = (s.axes[0], b.ty(node.operands[1]).rank());
    let Some(places) = places(b.graph, s, node)? else { return Ok(None) };
    let mut hit: Option<ValueId> = None;
    for (k, &axis) in s.axes.iter().enumerate() {
        if places.iter().flatten().any(|p| *p == (k, axis)) {
            continue;
        }
        let index = clamped(b, node.operands[1 + k], extents(b.graph, x)?[axis], s.wrap)?;
        let at: Vec<Option<usize>> = places.iter().map(|p| p.map(|p| p.1)).collect();
        let index = spread(b, index, &at, &shape)?;
        let position = b.iota(DType::I64, shape.clone(), axis)?;
        let here = b.map(ScalarFn::Eq, &[position, index])?;
        hit = Some(match hit {
            Some(before) => b.map(ScalarFn::And, &[before, here])?,
            None => here,
        });
    }
    // The source's axes: those before the indexed ones, the index tensors', the rest.
    let rest = (first..shape.len()).filter(|a| !s.axes.contains(a));
    let mut at: Vec<Option<usize>> = (0..first).map(Some).collect();
    at.extend(places.iter().map(|p| p.map(|p| p.1)));
    at.extend(rest.map(Some));
    debug_assert_eq!(at.len(), first + rank + shape.len() - first - s.axes.len());
    let src = spread(b, src, &at, &shape)?;
    let zeros = b.broadcast(zero, shape, vec![])?;
    // As the scatter does: the sum begins at +0.
    let sum = b.add(zeros, src)?;
    match hit {
        Some(hit) => b.select(hit, sum, zeros).map(Some),
        None => Ok(Some(sum)),
    }
}

/// A scalar +0 that all elements of the value are.
fn zero(graph: &Graph, v: ValueId) -> Option<ValueId> {
    let below = base(graph, v);
    match &graph.node(below.node).op {
        Op::Constant(_) if graph.ty(below).rank() == 0 && is_zero(graph, below) => Some(below),
        _ => None,
    }
}

/// For each axis of the index tensors, the (index tensor, axis of x) that it is the position on; `None` for
/// axes of one element. `None` at all if there is an axis without.
#[expect(clippy::type_complexity, reason = "a list with gaps, which may be missing")]
fn places(graph: &Graph, s: &ScatterAdd, node: &Node) -> R<Option<Vec<Option<(usize, usize)>>>> {
    let (x, index) = (extents(graph, node.operands[0])?, extents(graph, node.operands[1])?);
    let mut out = vec![None; index.len()];
    for (dim, &extent) in index.iter().enumerate().filter(|(_, e)| **e != 1) {
        let counts = |(k, &axis): (usize, &usize)| match &graph.node(node.operands[1 + k].node).op {
            Op::Iota(i) if i.axis == dim && i.dtype == DType::I64 && extent <= x[axis] => Some((k, axis)),
            _ => None,
        };
        match s.axes.iter().enumerate().find_map(counts) {
            Some(found) => out[dim] = Some(found),
            None => return Ok(None),
        }
    }
    Ok(Some(out))
}

/// The index as i64, brought into `[0, extent)`.
fn clamped(b: &mut GraphBuilder<'_>, index: ValueId, extent: u64, wrap: bool) -> R<ValueId> {
    let mut i = b.cast(index, DType::I64)?;
    let number = |b: &mut GraphBuilder<'_>, n: i64| {
        let n = b.constant(mlc_ir::op::Literal::int(DType::I64, n))?;
        let shape = b.shape(index);
        b.broadcast(n, shape, vec![])
    };
    let (zero, last) = (number(b, 0)?, number(b, extent as i64 - 1)?);
    if wrap {
        let n = number(b, extent as i64)?;
        let moved = b.add(i, n)?;
        let negative = b.map(ScalarFn::Lt, &[i, zero])?;
        i = b.select(negative, moved, i)?;
    }
    let i = b.map(ScalarFn::Max, &[i, zero])?;
    b.map(ScalarFn::Min, &[i, last])
}

/// The value stretched to `shape`, each of its axes at its place; axes without a place have one element.
fn spread(b: &mut GraphBuilder<'_>, v: ValueId, at: &[Option<usize>], shape: &Shape) -> R<ValueId> {
    let dims = b.shape(v);
    let kept: Vec<usize> = (0..at.len()).filter(|&i| at[i].is_some()).collect();
    let v = b.reshape(v, kept.iter().map(|&i| dims[i].clone()).collect())?;
    let places: Vec<usize> = kept.iter().filter_map(|&i| at[i]).collect();
    let mut perm: Vec<usize> = (0..places.len()).collect();
    perm.sort_by_key(|&i| places[i]);
    let axes = perm.iter().map(|&i| places[i]).collect();
    let v = b.transpose(v, perm)?;
    b.broadcast(v, shape.clone(), axes)
}
