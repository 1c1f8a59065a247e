//! Rebuilding a graph node by node: the one way in which passes rewrite a whole graph.
//!
//! Input: any verified graph. Output: the graph that `f` makes of it, its nodes in canonical order with
//! dense ids. Linear in the number of nodes and operands, whatever `f` replaces, which in-place
//! rewriting is not (an edge is found by walking its source's users).

use mlc_diag::Diagnostics;
use petgraph::stable_graph::StableDiGraph;
use smallvec::SmallVec;

use super::{Graph, Node, NodeId, ValueId};

/// The values that stand for a node's results.
pub type Values = SmallVec<[ValueId; 1]>;

impl Graph {
    /// The same name, stage, dims, checks and scopes; no nodes, outputs or writes.
    pub fn emptied(&self) -> Graph {
        Graph {
            name: self.name.clone(),
            stage: self.stage,
            dims: self.dims.clone(),
            checks: self.checks.clone(),
            outputs: vec![],
            writes: vec![],
            scopes: self.scopes.clone(),
            inner: StableDiGraph::with_capacity(self.len(), self.len() * 2),
        }
    }

    /// Inserts a node; its results.
    pub fn insert_values(&mut self, node: Node) -> Values {
        let results = node.results.len();
        let id = self.insert(node);
        (0..results).map(|i| id.result(i)).collect()
    }

    /// Calls `f` for every node, operands before users, with the new graph and the node with its
    /// operands mapped to it; `f` inserts what it wants and returns the values to use for the results.
    ///
    /// # Errors
    /// What `f` returned, of all nodes that it was called for; the graph is then unchanged.
    pub fn rebuild(
        &mut self,
        mut f: impl FnMut(&mut Graph, NodeId, Node) -> Result<Values, Diagnostics>,
    ) -> Result<(), Diagnostics> {
        let mut new = self.emptied();
        let mut errors = Diagnostics::new();
        let bound = self.ids().last().map_or(0, |n| n.0 as usize + 1);
        let mut map: Vec<Values> = vec![Values::new(); bound];
        for id in self.topo_order() {
            let mut node = self.node(id).clone();
            let results = node.results.len();
            let known =
                node.operands.iter_mut().all(|v| match map[v.node.0 as usize].get(v.result as usize) {
                    Some(&to) => {
                        *v = to;
                        true
                    }
                    None => false,
                });
            // An operand whose node failed: that error is enough.
            if !known {
                continue;
            }
            match f(&mut new, id, node) {
                Ok(values) => {
                    debug_assert_eq!(values.len(), results, "a rebuilt node keeps its number of results");
                    map[id.0 as usize] = values;
                }
                Err(e) => errors.extend(e),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let to = |v: ValueId| map[v.node.0 as usize][v.result as usize];
        new.outputs = std::mem::take(&mut self.outputs);
        new.outputs.iter_mut().for_each(|o| o.value = to(o.value));
        new.writes = std::mem::take(&mut self.writes);
        new.writes.iter_mut().for_each(|w| w.value = to(w.value));
        *self = new;
        Ok(())
    }
}
