//! Reverse-mode differentiation: expands every `grad` node.
//!
//! Input: a graph of stage `Placed` (or `Built`: nothing here needs devices). Output: stage
//! `Differentiated`, without `grad` and `stop_gradient` nodes.
//!
//! For `grad(y, x..)` the cone between the xs and y is walked from y backwards; each node's
//! [`vjp`](mlc_ir::op::OpDef::vjp) adds the cotangents of its operands as new nodes of phase
//! `Backward`, with the primal's span, scope and device. Values outside the cone get no cotangent, nor
//! do those whose every path to y is cut by an op of zero derivative: no zeros are made and added.
//! The contributions to one cotangent are added in the order of their users, the last user in
//! topological order first, so that the same graph always gives the same sums.
//!
//! Inner `grad`s are expanded first; what they leave is ordinary nodes, so that `grad` nests.
//!
//! ```text
//! before                                     after
//!   %1: f32[n] = map %0, %0 {f="mul"}          %1: f32[n] = map %0, %0 {f="mul"}
//!   %2: f32 = reduce %1 {kind="sum", axes=[0]} %2: f32 = reduce %1 {kind="sum", axes=[0]}
//!   %3: f32[n] = grad %2, %0                   %3: f32 = constant {value=f32 {1.0}}
//!                                              %4: f32[n] = broadcast %3 {shape=[n], axes=[]}
//!                                              %5: f32[n] = map %4, %0 {f="mul"}
//!                                              %6: f32[n] = map %4, %0 {f="mul"}
//!                                              %7: f32[n] = map %5, %6 {f="add"}
//! ```

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;

use mlc_diag::{Diagnostic, Diagnostics, Span};
use mlc_ir::graph::{Graph, GraphBuilder, NodeId, Phase, Prov, Stage, ValueId};
use mlc_ir::op::{Gradient, Op, Vjp};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{Pass, PassCx};

/// [`differentiate`] as a pass.
#[derive(Debug, Clone, Copy)]
pub struct Differentiate;

impl Pass for Differentiate {
    fn name(&self) -> &'static str {
        "differentiate"
    }

    fn stage_before(&self) -> Stage {
        Stage::Placed
    }

    fn stage_after(&self) -> Option<Stage> {
        Some(Stage::Differentiated)
    }

    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<(), Diagnostics> {
        differentiate(graph)
    }
}

/// Expands all `grad` nodes and drops all `stop_gradient` nodes.
///
/// # Errors
/// E0603 and E0604 for an x that `y` does not depend on, E0605 for an op that cannot be
/// differentiated on the way; each for every `grad` that has one.
pub fn differentiate(graph: &mut Graph) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::new();
    let mut failed = FxHashSet::default();
    for id in nodes(graph, |op| matches!(op, Op::Grad(_))) {
        // One error is enough for a `grad` and those around it.
        if !failed.is_empty() && ancestors(graph, id.value()).iter().any(|n| failed.contains(n)) {
            continue;
        }
        if let Err(e) = expand(graph, id) {
            errors.push(e);
            failed.insert(id);
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for id in nodes(graph, |op| matches!(op, Op::StopGradient(_))) {
        let operand = graph.node(id).operands[0];
        graph.replace_uses(id.value(), operand);
        graph.remove(id);
    }
    drop_repeated_checks(graph);
    graph.stage = graph.stage.max(Stage::Differentiated);
    Ok(())
}

/// In topological order.
fn nodes(graph: &Graph, which: impl Fn(&Op) -> bool) -> Vec<NodeId> {
    graph.topo_order().into_iter().filter(|&n| which(&graph.node(n).op)).collect()
}

/// A type rule that could not be proven leaves its check once for the primal and again for each
/// derivative.
fn drop_repeated_checks(graph: &mut Graph) {
    let mut kept: Vec<mlc_ir::graph::Check> = vec![];
    for check in std::mem::take(&mut graph.checks) {
        let same = |k: &mlc_ir::graph::Check| {
            (&k.fact.lhs, k.fact.rel, &k.fact.rhs) == (&check.fact.lhs, check.fact.rel, &check.fact.rhs)
        };
        if !kept.iter().any(same) {
            kept.push(check);
        }
    }
    graph.checks = kept;
}

/// Replaces the results of one `grad` node by cotangents.
fn expand(graph: &mut Graph, id: NodeId) -> Result<(), Diagnostic> {
    let node = graph.node(id).clone();
    let Op::Grad(op) = &node.op else { return Ok(()) };
    let Some((&y, xs)) = node.operands.split_first() else {
        return Err(Diagnostic::bug("`grad` without operands"));
    };
    let cone = Cone::new(graph, y, xs);
    if !op.allow_unused {
        for &x in xs {
            cone.check_dependence(graph, y, x, node.prov.span)?;
        }
    }
    let cotangents = cone.pull_back(graph, y, node.prov)?;
    for (i, x) in xs.iter().enumerate() {
        let new = match cotangents.get(x) {
            Some(&v) => v,
            None => {
                let prov = Prov { phase: Phase::Backward, ..node.prov };
                let mut b = GraphBuilder::new(graph, prov);
                b.full_like(*x, 0.0)?
            }
        };
        graph.replace_uses(id.result(i), new);
    }
    graph.remove(id);
    Ok(())
}

/// The nodes between some values and `y`.
struct Cone {
    /// What y depends on, in topological order.
    ancestors: Vec<NodeId>,
    /// Values through which a derivative flows from some x to y.
    live: FxHashSet<ValueId>,
}

impl Cone {
    fn new(graph: &Graph, y: ValueId, xs: &[ValueId]) -> Cone {
        let ancestors = ancestors(graph, y);
        let mut live: FxHashSet<ValueId> = xs.iter().copied().collect();
        for &id in &ancestors {
            let node = graph.node(id);
            let reached = node.operands.iter().any(|v| live.contains(v));
            if reached && !matches!(node.op.gradient(), Gradient::Zero(_)) {
                let floats = (0..node.results.len()).filter(|&i| node.results[i].dtype.is_float());
                live.extend(floats.map(|i| id.result(i)));
            }
        }
        Cone { ancestors, live }
    }

    /// The cotangents of the live values, from that of `y`, which is 1.
    fn pull_back(
        &self,
        graph: &mut Graph,
        y: ValueId,
        grad: Prov,
    ) -> Result<FxHashMap<ValueId, ValueId>, Diagnostic> {
        let mut sums = FxHashMap::default();
        if !self.live.contains(&y) {
            return Ok(sums);
        }
        let prov = Prov { phase: Phase::Backward, ..graph.node(y.node).prov };
        let seed = GraphBuilder::new(graph, prov).full_like(y, 1.0)?;
        sums.insert(y, seed);
        for &id in self.ancestors.iter().rev() {
            let node = graph.node(id).clone();
            let wanted: Vec<bool> = node.operands.iter().map(|v| self.live.contains(v)).collect();
            let results: Vec<ValueId> = (0..node.results.len()).map(|i| id.result(i)).collect();
            let cotangents: Vec<Option<ValueId>> = results.iter().map(|r| sums.get(r).copied()).collect();
            if !wanted.contains(&true) || cotangents.iter().all(Option::is_none) {
                continue;
            }
            match node.op.gradient() {
                Gradient::Rule => {}
                Gradient::Zero(_) => continue,
                Gradient::NotDifferentiable(reason) => {
                    return Err(not_differentiable(graph, id, reason, grad.span));
                }
            }
            let prov = Prov { phase: Phase::Backward, ..node.prov };
            let device = node.results.first().and_then(|t| t.device);
            let mut b = GraphBuilder::new(graph, prov).on(device);
            let at =
                Vjp { operands: &node.operands, results: &results, cotangents: &cotangents, wanted: &wanted };
            let pulled = node.op.vjp(&mut b, &at)?;
            for ((&operand, new), _) in node.operands.iter().zip(pulled).zip(&wanted).filter(|(_, w)| **w) {
                let Some(new) = new else { continue };
                fits(b.graph, operand, new, node.op.name())?;
                let sum = match sums.get(&operand) {
                    Some(&old) => b.add(old, new)?,
                    None => new,
                };
                sums.insert(operand, sum);
            }
        }
        Ok(sums)
    }

    /// Requires that y depends on x, and not only through what has no derivative.
    fn check_dependence(&self, graph: &Graph, y: ValueId, x: ValueId, grad: Span) -> Result<(), Diagnostic> {
        let (mut reached, mut smooth) = (FxHashSet::from_iter([x]), FxHashSet::from_iter([x]));
        let mut cut: Option<(NodeId, &'static str)> = None;
        for &id in &self.ancestors {
            let node = graph.node(id);
            if !node.operands.iter().any(|v| reached.contains(v)) {
                continue;
            }
            let through = node.operands.iter().any(|v| smooth.contains(v));
            let reason = match node.op.gradient() {
                Gradient::Zero(reason) => reason,
                _ => "its result is not a float",
            };
            for (i, ty) in node.results.iter().enumerate() {
                reached.insert(id.result(i));
                // Steps like `floor` have the derivative 0; indices, truth values and constants none.
                if through && ty.dtype.is_float() && !matches!(node.op, Op::StopGradient(_)) {
                    smooth.insert(id.result(i));
                } else if through && cut.is_none() {
                    cut = Some((id, reason));
                }
            }
        }
        if smooth.contains(&y) {
            return Ok(());
        }
        let name = graph.node(y.node).prov.span;
        let d = match cut.filter(|_| reached.contains(&y)) {
            None => Diagnostic::error("E0603", "`grad` by a value that the result does not depend on")
                .label(grad, "this derivative would be zero everywhere")
                .label(graph.span(x), "nothing made from this reaches the differentiated value"),
            Some((at, reason)) => Diagnostic::error(
                "E0604",
                "`grad` by a value that reaches the result only where no derivative passes",
            )
            .label(grad, "this derivative would be zero everywhere")
            .label(graph.node(at).prov.span, format!("no derivative passes here: {reason}")),
        };
        let d = if name.is_none() || name == grad { d } else { d.label(name, "the differentiated value") };
        Err(d.hint(
            "differentiate by the binding that the value is made from; `grad` takes a name, not an equal expression",
        ))
    }
}

/// All nodes that `y` depends on and its own, in topological order.
fn ancestors(graph: &Graph, y: ValueId) -> Vec<NodeId> {
    let mut seen = FxHashSet::from_iter([y.node]);
    let mut work = vec![y.node];
    while let Some(id) = work.pop() {
        work.extend(graph.node(id).operands.iter().map(|v| v.node).filter(|&n| seen.insert(n)));
    }
    graph.topo_order().into_iter().filter(|n| seen.contains(n)).collect()
}

fn not_differentiable(graph: &Graph, id: NodeId, reason: &str, grad: Span) -> Diagnostic {
    let node = graph.node(id);
    Diagnostic::error("E0605", format!("`{}` cannot be differentiated: {reason}", node.op.name()))
        .label(node.prov.span, "a derivative is needed here")
        .label(grad, "because of this")
        .hint("wrap its operand in `stop_gradient(..)` to take it for a constant")
}

/// A cotangent has its primal's dtype, rank and device: else a rule is wrong.
fn fits(graph: &Graph, primal: ValueId, cotangent: ValueId, op: &str) -> Result<(), Diagnostic> {
    let (a, b) = (graph.ty(primal), graph.ty(cotangent));
    let apart = a.device.is_some() && b.device.is_some() && a.device != b.device;
    if a.dtype == b.dtype && a.rank() == b.rank() && !apart {
        return Ok(());
    }
    Err(Diagnostic::bug(format!("the vjp of `{op}` gave {b} for an operand {a}")))
}
