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
//! What a `grad` is taken by is left as it is, and no rule looks through it, until it is differentiated.
//!
//! One walk from operands to users, each node simplified until no rule applies; rules see operands that
//! are simplified already. What became unused stays for `dce`.

mod algebra;
mod fold;
mod views;

use mlc_diag::Diagnostics;
use mlc_ir::graph::{Graph, Node, NodeId, Prov, Stage, ValueId, Values};
use mlc_ir::op::{Literal, Op, Transfer};
use mlc_ir::types::Type;
use rustc_hash::FxHashSet;
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
        let variables = graph.grad_variables();
        let differentiated = graph.stage >= Stage::Differentiated;
        let mut opaque = FxHashSet::default();
        graph.rebuild(|new, id, node| {
            if (0..node.results.len()).any(|i| variables.contains(&id.result(i))) {
                let values = new.insert_values(node);
                opaque.insert(values[0].node);
                return Ok(values);
            }
            Ok(Rewriter { graph: new, opaque: &opaque, differentiated }.emit(node))
        })
    }
}

/// The graph under construction, as rules see it.
struct Rewriter<'g> {
    graph: &'g mut Graph,
    /// What a `grad` is taken by: rules do not look through these.
    opaque: &'g FxHashSet<NodeId>,
    differentiated: bool,
}

impl Rewriter<'_> {
    /// Inserts the simplest node that computes `node`.
    fn emit(&mut self, mut node: Node) -> Values {
        // Every rule shrinks or moves one way, so few rounds are needed; the bound is against a mistake
        // in a rule, and stopping early is only a missed rewrite.
        for _ in 0..64 {
            match self.rewrite(&node) {
                None => break,
                Some(Rewrite::Value(v)) if self.ty(v) == &node.results[0] => return smallvec![v],
                Some(Rewrite::Value(_)) => break,
                Some(Rewrite::Op(op, operands)) => {
                    node.op = op;
                    node.operands = operands;
                }
            }
        }
        self.graph.insert_values(node)
    }

    fn rewrite(&mut self, node: &Node) -> Option<Rewrite> {
        // All rules are for nodes with one result.
        if node.results.len() != 1 {
            return None;
        }
        fold::fold(self, node).or_else(|| match &node.op {
            Op::Elementwise(op) => {
                algebra::elementwise(self, node, op.f).or_else(|| algebra::sink_broadcast(self, node))
            }
            Op::Cast(op) => algebra::cast(self, node, op.to).or_else(|| algebra::sink_broadcast(self, node)),
            Op::Transfer(op) => self.transfer(node, op),
            _ => views::view(self, node),
        })
    }

    fn ty(&self, v: ValueId) -> &Type {
        self.graph.ty(v)
    }

    /// The node that computes `v`, if rules may look at it.
    fn below(&self, v: ValueId) -> Option<&Node> {
        (!self.opaque.contains(&v.node)).then(|| self.graph.node(v.node))
    }

    /// Inserts another node that a rule needs beside its result, simplified as well.
    fn also(&mut self, op: impl Into<Op>, operands: &[ValueId], result: Type, prov: Prov) -> ValueId {
        self.emit(Node { op: op.into(), operands: operands.into(), results: smallvec![result], prov })[0]
    }

    /// The one value of a constant, or of a constant that is broadcast.
    fn splat(&self, v: ValueId) -> Option<&Literal> {
        let mut node = self.below(v)?;
        while let Op::Broadcast(_) = &node.op {
            node = self.below(node.operands[0])?;
        }
        match &node.op {
            Op::Constant(c) if c.value.shape().iter().product::<u64>() == 1 => Some(&c.value),
            _ => None,
        }
    }

    /// What was sent away and comes back never left; what is sent on is sent from where it was. Gradients
    /// of transfers make these. Before differentiate they are the program's own (`.to(a).to(b)`), and
    /// placement has dealt with them.
    fn transfer(&self, node: &Node, op: &Transfer) -> Option<Rewrite> {
        let Op::Transfer(_) = &self.below(node.operands[0]).filter(|_| self.differentiated)?.op else {
            return None;
        };
        let source = self.graph.node(node.operands[0].node).operands[0];
        Some(if self.ty(source).device == Some(op.to) {
            Rewrite::Value(source)
        } else {
            Rewrite::Op(op.clone().into(), smallvec![source])
        })
    }
}
