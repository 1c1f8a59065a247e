//! Canonicalize and fold, without changing a bit of any result.
//!
//! Input: a graph of any stage. Output: an equal graph in which
//! - views are composed (reshape of reshape, transpose of transpose, ..) and views that do nothing gone,
//! - elementwise identities are applied where they hold for NaN, infinities and signed zero,
//! - ops on constants are constants, where the result is exact or correctly rounded,
//! - `f(broadcast(a), broadcast(b))` computes before it repeats.
//!
//! ```text
//! %1: f32[h] = map.neg %0
//! %2: f32[h] = map.neg %1      =>   %1: f32[h] = map.exp %0
//! %3: f32[h] = map.exp %2
//! ```
//! Not rewritten, since bits would change: `x * 0`, `x + 0.0` (it makes +0 of -0), `x - x`, `x / c` for
//! a `c` that is no power of two, `exp(log x)`, and any reassociation.
//!
//! One walk from operands to users, each node simplified until no rule applies; rules see operands that
//! are simplified already. What became unused stays for `dce`.

mod algebra;
mod fold;
mod views;

use mlc_diag::Diagnostics;
use mlc_ir::graph::{Graph, Node, Prov, ValueId, Values};
use mlc_ir::op::{Broadcast, Literal, Op};
use mlc_ir::types::Type;
use smallvec::{SmallVec, smallvec};

use crate::pass::{Pass, PassCx};

#[derive(Debug, Clone, Copy)]
pub struct Simplify;

/// What a rule makes of a node.
enum Rewrite {
    /// This value, of exactly the node's type, already computes it.
    Value(ValueId),
    /// This op on these operands computes it; it may be simplified further.
    Op(Op, SmallVec<[ValueId; 3]>),
}

impl Pass for Simplify {
    fn name(&self) -> &'static str {
        "simplify"
    }

    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<(), Diagnostics> {
        graph.rebuild(|new, _, node| Ok(emit(new, node)))
    }
}

/// Inserts the simplest node that computes `node`.
fn emit(graph: &mut Graph, mut node: Node) -> Values {
    // Every rule shrinks or moves one way, so few rounds are needed; the bound is against a mistake in a
    // rule, and stopping early is only a missed rewrite.
    for _ in 0..64 {
        match rewrite(graph, &node) {
            None => break,
            Some(Rewrite::Value(v)) if graph.ty(v) == &node.results[0] => return smallvec![v],
            Some(Rewrite::Value(_)) => break,
            Some(Rewrite::Op(op, operands)) => {
                node.op = op;
                node.operands = operands;
            }
        }
    }
    graph.insert_values(node)
}

fn rewrite(graph: &mut Graph, node: &Node) -> Option<Rewrite> {
    // All rules are for nodes with one result.
    if node.results.len() != 1 {
        return None;
    }
    fold::fold(graph, node).or_else(|| match &node.op {
        Op::Elementwise(op) => {
            algebra::elementwise(graph, node, op.f).or_else(|| algebra::sink_broadcast(graph, node))
        }
        Op::Cast(op) => algebra::cast(graph, node, op.to).or_else(|| algebra::sink_broadcast(graph, node)),
        _ => views::view(graph, node),
    })
}

/// Inserts another node that a rule needs beside its result, simplified as well.
fn also(graph: &mut Graph, op: impl Into<Op>, operands: &[ValueId], result: Type, prov: Prov) -> ValueId {
    emit(graph, Node { op: op.into(), operands: operands.into(), results: smallvec![result], prov })[0]
}

/// The one value of a constant, or of a constant that is broadcast.
fn splat(graph: &Graph, v: ValueId) -> Option<&Literal> {
    let mut node = graph.node(v.node);
    while let Op::Broadcast(Broadcast { .. }) = &node.op {
        node = graph.node(node.operands[0].node);
    }
    match &node.op {
        Op::Constant(c) if c.value.shape().iter().product::<u64>() == 1 => Some(&c.value),
        _ => None,
    }
}
