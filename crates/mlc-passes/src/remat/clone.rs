//! Recomputation in the graph: what the backward and the update read of a dropped value comes from a copy of
//! the nodes that made it.
//!
//! ```text
//! before                                       after
//!   %1 = map.gelu %0                             %1 = map.gelu %0
//!   %2 = contract %1, %w                         %2 = contract %1, %w
//!   ..                                           ..
//!   %8 = contract %7, %1     // backward         %8 = map.gelu %0             // backward
//!                                                %9 = contract %7, %8
//! ```
//!
//! A copy stands before its first use and has the phase `Backward`. It is made of the dropped nodes and of all
//! that is folded into their kernels; what these read from memory and is kept, the copy reads too. Copies are
//! equal to what they copy, so no pass that merges equal nodes may run afterwards: the last one of the pipeline
//! has run when a graph is planned.

use mlc_diag::Diagnostics;
use mlc_ir::graph::{Graph, Node, NodeId, Phase, Values};
use mlc_ir::lower::Rule;
use mlc_ir::mutate::{Mutation, on};
use rustc_hash::FxHashSet;

/// The graph in which no value of `dropped` is kept for the backward. `stored` are the nodes whose results lie
/// in memory of their own.
///
/// # Errors
/// Only bugs.
pub fn recompute(
    graph: &Graph,
    dropped: &FxHashSet<NodeId>,
    stored: &FxHashSet<NodeId>,
) -> Result<Graph, Diagnostics> {
    let inline = inline(graph, stored);
    let affected = affected(graph, dropped, &inline);
    let bound = affected.len();
    let mut cloner = Cloner {
        graph,
        copied: affected.iter().zip(&inline).map(|(a, i)| *a || *i && !on(Mutation::ShareFolded)).collect(),
        new: vec![Values::new(); bound],
        copies: vec![Values::new(); bound],
    };
    let mut out = graph.clone();
    out.rebuild(|new, id, mut node| {
        if node.prov.phase != Phase::Forward {
            for (i, old) in graph.node(id).operands.iter().enumerate() {
                if affected[old.node.0 as usize] && !on(Mutation::KeepDropped) {
                    cloner.copy(new, old.node);
                    node.operands[i] = cloner.copies[old.node.0 as usize][old.result as usize];
                }
            }
        }
        let values = new.insert_values(node);
        cloner.new[id.0 as usize] = values.clone();
        Ok(values)
    })?;
    out.remove_dead();
    Ok(out)
}

/// By node: does it belong to the forward and lie in no memory?
fn inline(graph: &Graph, stored: &FxHashSet<NodeId>) -> Vec<bool> {
    let mut inline = vec![false; graph.ids().last().map_or(0, |n| n.0 as usize + 1)];
    for id in graph.ids() {
        let node = graph.node(id);
        let source = matches!(node.op.lowering().rule(), Rule::Stored);
        inline[id.0 as usize] = node.prov.phase == Phase::Forward && !source && !stored.contains(&id);
    }
    inline
}

/// By node: is it dropped, or folded and made of what is?
fn affected(graph: &Graph, dropped: &FxHashSet<NodeId>, inline: &[bool]) -> Vec<bool> {
    let mut affected = vec![false; inline.len()];
    for id in graph.topo_order() {
        let (node, at) = (graph.node(id), id.0 as usize);
        let through = inline[at] && node.operands.iter().any(|v| affected[v.node.0 as usize]);
        affected[at] = node.prov.phase == Phase::Forward && dropped.contains(&id) || through;
    }
    affected
}

struct Cloner<'g> {
    graph: &'g Graph,
    /// By node: does a copy that needs it need a copy of it?
    copied: Vec<bool>,
    /// By old node: its results in the new graph, and those of its copy.
    new: Vec<Values>,
    copies: Vec<Values>,
}

impl Cloner<'_> {
    /// Copies a node, operands first; an explicit stack, as a cone may be as deep as the model.
    fn copy(&mut self, new: &mut Graph, id: NodeId) {
        let mut work = vec![id];
        while let Some(&id) = work.last() {
            let at = id.0 as usize;
            if !self.copies[at].is_empty() {
                work.pop();
                continue;
            }
            let node = self.graph.node(id);
            let open = |v: &&mlc_ir::graph::ValueId| {
                self.copied[v.node.0 as usize] && self.copies[v.node.0 as usize].is_empty()
            };
            let before: Vec<NodeId> = node.operands.iter().filter(open).map(|v| v.node).collect();
            if !before.is_empty() {
                work.extend(before);
                continue;
            }
            self.copies[at] = new.insert_values(self.copy_of(node));
            work.pop();
        }
    }

    fn copy_of(&self, node: &Node) -> Node {
        let mut copy = node.clone();
        copy.prov.phase = Phase::Backward;
        for v in &mut copy.operands {
            let i = v.node.0 as usize;
            let values = if self.copied[i] { &self.copies[i] } else { &self.new[i] };
            *v = values[v.result as usize];
        }
        copy
    }
}
