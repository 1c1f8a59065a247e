//! The tensor graph: one structure from the front end's output to fused kernels.
//!
//! A [`Graph`] is one entry of a program (a `step`, a `validate`, a method). Nodes apply an
//! [`Op`] to values and have one or more results; the graph is acyclic. State is read
//! by `state` nodes, which mean the value at entry, and written by [`Graph::writes`], which take
//! effect when the entry ends: in between everything is SSA.
//!
//! An op may hold a [`Region`], a closed graph of its own that it runs (`scan`).
//!
//! petgraph's `StableDiGraph` holds the nodes and stays hidden: ids outside are [`NodeId`] and
//! [`ValueId`], which print as they are written in the text form (`%12`, `%12.1`).

mod builder;
mod node;
mod outline;
mod parse;
mod print;
mod rebuild;
mod region;
mod stage;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::BTreeSet;

use mlc_diag::{Diagnostic, Span};
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashSet;

use crate::op::{InferCx, Op};
use crate::types::{Dim, DimFacts, Fact, Symbol, Type};

pub use builder::GraphBuilder;
pub use node::{Node, NodeId, Phase, Prov, ScopeId, ValueId};
pub use outline::Outlined;
pub use parse::{ParseError, parse, parse_all, parse_dim};
pub use print::print_with_sources;
pub use rebuild::Values;
pub use region::Region;
pub use stage::Stage;
pub use verify::{VerifyErrors, Violation, verify, verify_entry};

/// A named result of an entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub name: String,
    pub value: ValueId,
    /// What a mean over several calls weights this scalar by: the number of rows or elements it is
    /// a mean of. `None` for what is not averaged.
    pub weight: Option<Dim>,
    pub span: Span,
}

/// State (by path) and its value after this entry.
#[derive(Debug, Clone, PartialEq)]
pub struct StateWrite {
    pub state: Symbol,
    pub value: ValueId,
    pub span: Span,
}

/// One entry of a program as a graph.
#[derive(Debug, Clone)]
pub struct Graph {
    /// `SimpleNN.forward`, `train.step`.
    pub name: String,
    pub stage: Stage,
    pub dims: DimFacts,
    /// What must hold once dims are bound and could not be proven before.
    pub checks: Vec<Check>,
    pub outputs: Vec<Output>,
    pub writes: Vec<StateWrite>,
    scopes: Vec<Symbol>,
    inner: StableDiGraph<Node, ()>,
}

/// A condition left for when dims are bound, with the error to give where it fails.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub fact: Fact,
    pub error: Diagnostic,
}

impl Graph {
    pub fn new(name: impl Into<String>) -> Graph {
        Graph {
            name: name.into(),
            stage: Stage::Built,
            dims: DimFacts::default(),
            checks: vec![],
            outputs: vec![],
            writes: vec![],
            scopes: vec!["".into()],
            inner: StableDiGraph::new(),
        }
    }

    /// Adds a node; its result types come from the op's type rule.
    ///
    /// # Errors
    /// The rule's diagnostic, labelled at `prov.span`, where operands do not fit the op.
    pub fn add(&mut self, op: Op, operands: &[ValueId], prov: Prov) -> Result<NodeId, Diagnostic> {
        let types: Vec<Type> = operands.iter().map(|&v| self.ty(v).clone()).collect();
        let spans: Vec<Span> = operands.iter().map(|v| self.node(v.node).prov.span).collect();
        let mut cx = InferCx::new(&self.dims, prov.span, &spans);
        let mut results = op.infer(&mut cx, &types)?;
        self.checks.extend(cx.into_checks());
        if self.stage >= Stage::Placed {
            let device = types.first().and_then(|t| t.device);
            for r in &mut results {
                r.device = r.device.or(device);
            }
        }
        Ok(self.insert(Node { op, operands: operands.into(), results, prov }))
    }

    /// Adds a node whose types are known: for passes that rebuild nodes and for the text parser.
    /// The verifier holds them against the type rule.
    pub fn insert(&mut self, node: Node) -> NodeId {
        let operands = node.operands.clone();
        let id = self.inner.add_node(node);
        for v in operands {
            self.inner.add_edge(index(v.node), id, ());
        }
        NodeId(id.index() as u32)
    }

    /// # Panics
    /// If the node is not in this graph: ids are only made by it.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.inner[index(id)]
    }

    pub fn get(&self, id: NodeId) -> Option<&Node> {
        self.inner.node_weight(index(id))
    }

    pub fn ty(&self, v: ValueId) -> &Type {
        &self.node(v.node).results[v.result as usize]
    }

    pub fn span(&self, v: ValueId) -> Span {
        self.node(v.node).prov.span
    }

    /// Changes a result's type in place (placement, binding). The verifier checks the whole.
    pub fn set_type(&mut self, v: ValueId, ty: Type) {
        self.inner[index(v.node)].results[v.result as usize] = ty;
    }

    /// Replaces the payload of a node, keeping operands and result types.
    pub fn set_op(&mut self, id: NodeId, op: Op) {
        self.inner[index(id)].op = op;
    }

    pub fn set_phase(&mut self, id: NodeId, phase: Phase) {
        self.inner[index(id)].prov.phase = phase;
    }

    pub fn len(&self) -> usize {
        self.inner.node_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All nodes in insertion order; for an order that respects operands see [`Graph::topo_order`].
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.inner.node_indices().map(|i| NodeId(i.index() as u32))
    }

    /// Nodes that use any result of `id`, each once, in ascending order.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let users: BTreeSet<NodeId> =
            self.inner.edges(index(id)).map(|e| NodeId(e.target().index() as u32)).collect();
        users.into_iter().collect()
    }

    /// The canonical topological order: among ready nodes the one with the least id first, so that a
    /// graph that was built forwards keeps the order it was written in.
    pub fn topo_order(&self) -> Vec<NodeId> {
        let bound = self.inner.node_indices().next_back().map_or(0, |i| i.index() + 1);
        let mut waiting = vec![0u32; bound];
        let mut ready = std::collections::BinaryHeap::new();
        for i in self.inner.node_indices() {
            let n = self.inner[i].operands.len() as u32;
            waiting[i.index()] = n;
            if n == 0 {
                ready.push(std::cmp::Reverse(i.index()));
            }
        }
        let mut order = Vec::with_capacity(self.len());
        while let Some(std::cmp::Reverse(i)) = ready.pop() {
            order.push(NodeId(i as u32));
            for e in self.inner.edges(NodeIndex::new(i)) {
                let t = e.target().index();
                waiting[t] -= 1;
                if waiting[t] == 0 {
                    ready.push(std::cmp::Reverse(t));
                }
            }
        }
        order
    }

    /// Makes every user of `old`, operand or result of the graph, use `new` instead.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        if old == new {
            return;
        }
        for user in self.users(old.node) {
            if user != new.node || !self.node(user).operands.contains(&old) {
                self.rewrite_operands(user, |v| if v == old { new } else { v });
            }
        }
        for out in &mut self.outputs {
            if out.value == old {
                out.value = new;
            }
        }
        for w in &mut self.writes {
            if w.value == old {
                w.value = new;
            }
        }
    }

    /// Maps the operands of one node, keeping petgraph's edges in step.
    pub fn rewrite_operands(&mut self, id: NodeId, f: impl Fn(ValueId) -> ValueId) {
        let i = index(id);
        let new: smallvec::SmallVec<[ValueId; 3]> = self.inner[i].operands.iter().map(|&v| f(v)).collect();
        if new == self.inner[i].operands {
            return;
        }
        let edges: Vec<_> =
            self.inner.edges_directed(i, petgraph::Direction::Incoming).map(|e| e.id()).collect();
        for e in edges {
            self.inner.remove_edge(e);
        }
        for v in &new {
            self.inner.add_edge(index(v.node), i, ());
        }
        self.inner[i].operands = new;
    }

    /// Removes a node that nothing uses.
    pub fn remove(&mut self, id: NodeId) {
        self.inner.remove_node(index(id));
    }

    /// Removes every node that no output and no state write depends on. `input` nodes stay: they are
    /// the entry's signature. Returns how many went.
    pub fn remove_dead(&mut self) -> usize {
        let mut live: BTreeSet<NodeId> = BTreeSet::new();
        let roots = self.outputs.iter().map(|o| o.value.node).chain(self.writes.iter().map(|w| w.value.node));
        let mut work: Vec<NodeId> = roots.collect();
        work.extend(self.ids().filter(|&n| matches!(self.node(n).op, Op::Input(_))));
        while let Some(n) = work.pop() {
            if live.insert(n) {
                work.extend(self.node(n).operands.iter().map(|v| v.node));
            }
        }
        // Youngest first: petgraph finds an edge by walking its source's users from the newest.
        let dead: Vec<NodeId> = self.ids().filter(|n| !live.contains(n)).collect();
        for &n in dead.iter().rev() {
            self.remove(n);
        }
        dead.len()
    }

    /// The values that some `grad` is taken by. Until differentiate, these are not only values but
    /// places: a gradient counts the uses that go through this very node, so that no rewrite may merge
    /// it with an equal one or look through it.
    pub fn grad_variables(&self) -> FxHashSet<ValueId> {
        let grads = self.ids().map(|n| self.node(n)).filter(|n| matches!(n.op, Op::Grad(_)));
        grads.flat_map(|n| n.operands.iter().skip(1).copied()).collect()
    }

    /// Interns a scope path (`blocks.3.attn`); the empty path is `ScopeId(0)`.
    pub fn scope(&mut self, path: &str) -> ScopeId {
        let at = self.scopes.iter().rposition(|s| **s == *path).unwrap_or_else(|| {
            self.scopes.push(path.into());
            self.scopes.len() - 1
        });
        ScopeId(at as u32)
    }

    pub fn scope_path(&self, id: ScopeId) -> &Symbol {
        &self.scopes[id.0 as usize]
    }

    pub fn scopes(&self) -> &[Symbol] {
        &self.scopes
    }

    /// The nodes that petgraph's edges into `id` come from: the verifier holds them against the operands.
    pub(crate) fn edge_sources(&self, id: NodeId) -> Vec<NodeId> {
        let edges = self.inner.edges_directed(index(id), petgraph::Direction::Incoming);
        edges.map(|e| NodeId(e.source().index() as u32)).collect()
    }
}

fn index(id: NodeId) -> NodeIndex {
    NodeIndex::new(id.0 as usize)
}
