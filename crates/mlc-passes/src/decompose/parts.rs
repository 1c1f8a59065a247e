//! D8: gradients of slices that lie side by side are parts of one tensor.
//!
//! The gradient of each slice (`q, k, v = unstack(x)`) is a padding of its cotangent with zeros; their sum has
//! one of them at each place, with zeros added:
//!
//! ```text
//! %3 = add (pad %q {low=[0], high=[4]}), (pad %k {low=[2], high=[2]})
//! %4 = add %3, (pad %v {low=[4], high=[0]})                            %4 = concat %q + 0, %k + 0, %v + 0
//! ```
//!
//! No bit changes: adding zeros once or twice only makes +0 of -0.

use mlc_ir::Type;
use mlc_ir::graph::{Graph, GraphBuilder, ValueId};
use mlc_ir::lower::{extents, is_zero};
use mlc_ir::op::{Op, ScalarFn};

use super::{MAX_PARTS, R};

/// A part with its range on the axis.
struct Part {
    value: ValueId,
    start: u64,
    end: u64,
}

/// The concat that stands for a sum of these operands.
pub fn joined(b: &mut GraphBuilder<'_>, ty: &Type, operands: &[ValueId]) -> R<Option<ValueId>> {
    let mut leaves = vec![];
    let mut work = operands.to_vec();
    while let Some(v) = work.pop() {
        match &b.graph.node(v.node).op {
            Op::Elementwise(m) if m.f == ScalarFn::Add => work.extend(&b.graph.node(v.node).operands),
            Op::Pad(_) => leaves.push(v),
            _ => return Ok(None),
        }
        if leaves.len() + work.len() > MAX_PARTS {
            return Ok(None);
        }
    }
    let Some(axis) = leaves.first().and_then(|&v| padded_axis(b.graph, v)) else { return Ok(None) };
    let mut parts = vec![];
    for v in leaves {
        match part(b.graph, v, axis)? {
            Some(part) => parts.push(part),
            None => return Ok(None),
        }
    }
    parts.sort_by_key(|p| p.start);
    let whole = ty.bound_shape().and_then(|s| s.get(axis).copied()).unwrap_or(0) as u64;
    let ends = parts.iter().map(|p| p.end);
    let starts = parts.iter().skip(1).map(|p| p.start).chain([whole]);
    if parts.first().is_none_or(|p| p.start != 0) || !ends.eq(starts) {
        return Ok(None);
    }
    let mut sums = vec![];
    for p in &parts {
        let zeros = b.full_like(p.value, 0.0)?;
        sums.push(b.add(p.value, zeros)?);
    }
    b.concat(&sums, axis).map(Some)
}

/// The one axis along which a value is padded.
fn padded_axis(graph: &Graph, v: ValueId) -> Option<usize> {
    let Op::Pad(p) = &graph.node(v.node).op else { return None };
    let padded = |a: usize| p.low[a].as_const() != Some(0) || p.high[a].as_const() != Some(0);
    let mut axes = (0..p.low.len()).filter(|&a| padded(a));
    let axis = axes.next()?;
    axes.next().is_none().then_some(axis)
}

/// The part that a padding with zeros along this axis alone holds.
fn part(graph: &Graph, v: ValueId, axis: usize) -> R<Option<Part>> {
    let node = graph.node(v.node);
    let Op::Pad(p) = &node.op else { return Ok(None) };
    let low = p.low[axis].as_const().and_then(|n| u64::try_from(n).ok());
    let (Some(start), true) = (low, is_zero(graph, node.operands[1])) else { return Ok(None) };
    if padded_axis(graph, v) != Some(axis) || p.high[axis].as_const().is_none_or(|n| n < 0) {
        return Ok(None);
    }
    let own = extents(graph, node.operands[0])?[axis];
    Ok(Some(Part { value: node.operands[0], start, end: start + own }))
}
