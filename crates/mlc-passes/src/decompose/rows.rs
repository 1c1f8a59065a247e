//! D7: which full reductions add up rows.
//!
//! A loss is a sum over values that are each the result of a row (`mean(logsumexp(z) - z[label])`). Such a sum
//! runs along with the rows: by the tree of columns (R5), one value after another, rather than by the tree of
//! rows (R4), which takes 256 at once. Which of the two is decided here, from the graph alone, and not by
//! what is fused later: `reduce(x: [n], all axes)` becomes `reduce(reshape(x, [n, 1]), axes = [0])`.

use mlc_ir::graph::{Graph, GraphBuilder, ValueId};
use mlc_ir::lower::{count, extents};
use mlc_ir::op::{Op, ReduceKind};
use mlc_ir::{Dim, Shape};
use rustc_hash::FxHashSet;

use super::R;

/// Values that hold one result for each row of something, as far as the graph is built.
#[derive(Debug, Default)]
pub struct Rows(FxHashSet<ValueId>);

impl Rows {
    /// Takes note of a value that was added to the graph.
    pub fn note(&mut self, graph: &Graph, v: ValueId) -> R<()> {
        let node = graph.node(v.node);
        let size = count(&extents(graph, v)?);
        if size <= 1 {
            return Ok(());
        }
        let follows = |o: &ValueId| {
            Ok::<bool, mlc_diag::Diagnostic>(self.0.contains(o) && count(&extents(graph, *o)?) == size)
        };
        let is = match &node.op {
            Op::Reduce(r) => r.axes.last() == Some(&(graph.ty(node.operands[0]).rank() - 1)),
            Op::Gather(g) => picks(graph, node.operands[0], &g.axes, &node.operands[1..], size)?,
            Op::Elementwise(_) | Op::Cast(_) | Op::Reshape(_) => {
                let mut any = false;
                for o in &node.operands {
                    any |= follows(o)?;
                }
                any
            }
            _ => false,
        };
        if is {
            self.0.insert(v);
        }
        Ok(())
    }

    /// The reduction of `x` over all axes, if it adds up rows.
    pub fn sum(
        &self,
        b: &mut GraphBuilder<'_>,
        kind: ReduceKind,
        x: ValueId,
        axes: &[usize],
    ) -> R<Option<ValueId>> {
        let mut below = x;
        while let Op::Reshape(_) = &b.graph.node(below.node).op {
            below = b.graph.node(below.node).operands[0];
        }
        let known = self.0.contains(&x) || self.0.contains(&below);
        if !known || axes.len() != b.ty(x).rank() || kind.is_arg() {
            return Ok(None);
        }
        let n = Dim::from(count(&extents(b.graph, x)?) as i64);
        let column = b.reshape(x, [n, Dim::ONE].into_iter().collect())?;
        let sum = b.reduce(kind, column, vec![0])?;
        b.reshape(sum, Shape::new()).map(Some)
    }
}

/// Does a gather take one element of each row of x?
fn picks(graph: &Graph, x: ValueId, axes: &[usize], indices: &[ValueId], size: u64) -> R<bool> {
    let shape = extents(graph, x)?;
    let Some((&cols, rows)) = shape.split_last() else { return Ok(false) };
    let own = |axis: usize| {
        let iota = axes.iter().position(|&a| a == axis).map(|k| &graph.node(indices[k].node).op);
        matches!(iota, Some(Op::Iota(i)) if i.axis == axis)
    };
    let each = (0..rows.len()).all(|a| shape[a] == 1 || own(a));
    Ok(cols > 1 && count(rows) == size && axes.len() == shape.len() && each)
}
