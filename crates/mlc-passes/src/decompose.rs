//! Decompose: Bound -> Decomposed. Afterwards every node is one kernel or part of one, as its lowering rule
//! says. The last pass that may change a rounding.
//!
//! - D1: a reduction is over trailing axes (a row reduction) or over leading axes (a column reduction). Other
//!   axes are split: first the trailing ones, then the rest, transposed to the front. f16 and bf16 stay f32 in
//!   between: a reduction rounds once. argmax and argmin are never split, only transposed.
//! - D2: no reduction over axes of extent 1 only (a reshape; argmax: zeros) or over no elements (its
//!   identity).
//! - D3: no contraction over an empty axis (zeros), and no concat with empty parts, of one part, or of more
//!   parts than a kernel takes arguments.
//! - D4: no pad of a tensor without elements (the fill), no scatter from one (its first operand).
//!
//! ```text
//! %1 = reduce %0 {kind=sum, axes=[0,2]}        %1 = reduce %0 {kind=sum, axes=[2]}
//!                                              %2 = reduce %1 {kind=sum, axes=[0]}
//! ```

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::graph::{Graph, GraphBuilder, NodeId, Stage, ValueId};
use mlc_ir::lower::{count, extents};
use mlc_ir::op::{Concat, Contract, Literal, Op, Pad, Reduce, ReduceKind, ScatterAdd};
use mlc_ir::{DType, Dim, Shape};

/// A kernel takes at most this many parts of a concat.
const MAX_PARTS: usize = 8;

type R<T> = Result<T, Diagnostic>;

/// Rewrites a bound graph in place.
///
/// # Errors
/// Bugs only: a bound graph has been checked.
pub fn decompose(graph: &mut Graph) -> Result<(), Diagnostics> {
    for id in graph.topo_order() {
        if let Some(new) = replacement(graph, id)? {
            graph.replace_uses(id.value(), new);
        }
    }
    graph.remove_dead();
    graph.stage = Stage::Decomposed;
    Ok(())
}

/// The value to use instead of the node's, if it needs one.
fn replacement(graph: &mut Graph, id: NodeId) -> R<Option<ValueId>> {
    let node = graph.node(id).clone();
    let mut b = GraphBuilder::new(graph, node.prov).on(node.results.first().and_then(|t| t.device));
    match &node.op {
        Op::Reduce(r) => reduce(&mut b, r, id.value(), node.operands[0]),
        Op::Contract(c) => contract(&mut b, c, id.value(), node.operands[0]),
        Op::Concat(c) => concat(&mut b, c, &node.operands),
        Op::Pad(p) => pad(&mut b, p, id.value(), &node.operands),
        Op::ScatterAdd(s) => scatter(&mut b, s, &node.operands),
        _ => Ok(None),
    }
}

fn size(b: &GraphBuilder<'_>, v: ValueId) -> R<u64> {
    Ok(count(&extents(b.graph, v)?))
}

/// One value with the type of `like`.
fn filled(b: &mut GraphBuilder<'_>, like: ValueId, value: Literal) -> R<ValueId> {
    let shape = b.shape(like);
    let v = b.constant(value)?;
    b.broadcast(v, shape, vec![])
}

fn reduce(b: &mut GraphBuilder<'_>, r: &Reduce, v: ValueId, x: ValueId) -> R<Option<ValueId>> {
    let shape = extents(b.graph, x)?;
    let arg = matches!(r.kind, ReduceKind::ArgMax | ReduceKind::ArgMin);
    if r.axes.iter().any(|&a| shape[a] == 0) {
        return identity(b, r.kind, v).map(Some);
    }
    let (unit, real): (Vec<usize>, Vec<usize>) = r.axes.iter().partition(|&&a| shape[a] == 1);
    if !unit.is_empty() {
        return without_units(b, r.kind, v, x, &unit, &real).map(Some);
    }
    let rank = shape.len();
    let trailing = (0..rank).rev().take_while(|a| r.axes.contains(a)).count();
    let leading = (0..rank).take_while(|a| r.axes.contains(a)).count();
    if trailing == r.axes.len() || (leading == r.axes.len() && !arg) {
        return Ok(None);
    }
    if arg {
        let perm = (0..rank).filter(|a| !r.axes.contains(a)).chain(r.axes.iter().copied()).collect();
        let t = b.transpose(x, perm)?;
        return b.reduce(r.kind, t, (rank - r.axes.len()..rank).collect()).map(Some);
    }
    let dtype = b.ty(x).dtype;
    let wide = if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
    let mut y = b.cast(x, wide)?;
    y = b.reduce(r.kind, y, (rank - trailing..rank).collect())?;
    let rest: Vec<usize> = r.axes.iter().copied().filter(|&a| a < rank - trailing).collect();
    let perm = rest.iter().copied().chain((0..rank - trailing).filter(|a| !rest.contains(a))).collect();
    y = b.transpose(y, perm)?;
    y = b.reduce(r.kind, y, (0..rest.len()).collect())?;
    b.cast(y, dtype).map(Some)
}

/// What a reduction over nothing gives.
fn identity(b: &mut GraphBuilder<'_>, kind: ReduceKind, v: ValueId) -> R<ValueId> {
    let dtype = b.ty(v).dtype;
    let value = match kind {
        ReduceKind::Sum => Literal::int(dtype, 0),
        ReduceKind::Prod => Literal::int(dtype, 1),
        ReduceKind::And => Literal::bool(true),
        ReduceKind::Or => Literal::bool(false),
        // The type rule forbids these over an axis without elements; a result without elements is fine.
        _ if size(b, v)? == 0 => Literal::int(dtype, 0),
        _ => return Err(Diagnostic::bug(format!("{} over an empty axis", kind.name()))),
    };
    filled(b, v, value)
}

/// Reducing an axis of extent 1 drops it.
fn without_units(
    b: &mut GraphBuilder<'_>,
    kind: ReduceKind,
    v: ValueId,
    x: ValueId,
    unit: &[usize],
    real: &[usize],
) -> R<ValueId> {
    let arg = matches!(kind, ReduceKind::ArgMax | ReduceKind::ArgMin);
    if arg && real.is_empty() {
        return filled(b, v, Literal::int(DType::I64, 0));
    }
    let shape: Shape =
        b.shape(x).iter().enumerate().filter(|(a, _)| !unit.contains(a)).map(|(_, d)| d.clone()).collect();
    let x = b.reshape(x, shape)?;
    let axes = real.iter().map(|a| a - unit.iter().filter(|u| *u < a).count()).collect();
    let y = b.reduce(kind, x, axes)?;
    // What is left may still be over mixed axes.
    Ok(replacement(b.graph, y.node)?.filter(|_| !real.is_empty()).unwrap_or(y))
}

fn contract(b: &mut GraphBuilder<'_>, c: &Contract, v: ValueId, lhs: ValueId) -> R<Option<ValueId>> {
    let shape = extents(b.graph, lhs)?;
    if c.sum.iter().all(|p| shape[p.0] != 0) {
        return Ok(None);
    }
    let zero = Literal::int(b.ty(v).dtype, 0);
    filled(b, v, zero).map(Some)
}

fn concat(b: &mut GraphBuilder<'_>, c: &Concat, operands: &[ValueId]) -> R<Option<ValueId>> {
    let mut parts = vec![];
    for &part in operands {
        if extents(b.graph, part)?[c.axis] != 0 {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        return Ok(operands.first().copied());
    }
    if parts.len() == operands.len() && (2..=MAX_PARTS).contains(&parts.len()) {
        return Ok(None);
    }
    while parts.len() > MAX_PARTS {
        let mut joined = vec![];
        for group in parts.chunks(MAX_PARTS) {
            joined.push(b.concat(group, c.axis)?);
        }
        parts = joined;
    }
    b.concat(&parts, c.axis).map(Some)
}

fn pad(b: &mut GraphBuilder<'_>, p: &Pad, v: ValueId, operands: &[ValueId]) -> R<Option<ValueId>> {
    if p.low.iter().chain(&p.high).all(|d| *d == Dim::ZERO) {
        return Ok(Some(operands[0]));
    }
    if size(b, operands[0])? != 0 || size(b, v)? == 0 {
        return Ok(None);
    }
    let shape = b.shape(v);
    b.broadcast(operands[1], shape, vec![]).map(Some)
}

fn scatter(b: &mut GraphBuilder<'_>, _: &ScatterAdd, operands: &[ValueId]) -> R<Option<ValueId>> {
    Ok(if size(b, operands[operands.len() - 1])? == 0 { Some(operands[0]) } else { None })
}
