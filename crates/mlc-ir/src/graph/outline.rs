//! Outlining: what depends on some nodes becomes a graph of its own.
//!
//! The front end builds the body of a run-time loop among the nodes around it, with nodes that stand for what a
//! trip is given. When the body is complete, what depends on those nodes moves out; every other value that it
//! uses becomes an input. So what does not change from trip to trip is never part of the body.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Graph, Node, NodeId, ScopeId, ValueId};
use crate::op::Input;
use crate::types::Symbol;

/// What [`Graph::outline`] took out.
#[derive(Debug)]
pub struct Outlined {
    pub graph: Graph,
    /// In `graph`, the values that were asked for.
    pub roots: Vec<ValueId>,
    /// In the graph around it, the values of its new inputs.
    pub kept: Vec<ValueId>,
}

impl Graph {
    /// The nodes that depend on `params`, themselves included, in topological order.
    pub fn dependents(&self, params: &[NodeId]) -> Vec<NodeId> {
        let mut found: FxHashSet<NodeId> = params.iter().copied().collect();
        let mut work = params.to_vec();
        while let Some(id) = work.pop() {
            work.extend(self.users(id).into_iter().filter(|&u| found.insert(u)));
        }
        self.topo_order().into_iter().filter(|n| found.contains(n)).collect()
    }

    /// Moves what depends on `params` into a graph of its own, in which `roots` are reachable; `name(i)` is what
    /// the i-th value from outside is called there. Nothing but `roots` may use what moves.
    pub fn outline(
        &mut self,
        params: &[NodeId],
        roots: &[ValueId],
        name: &dyn Fn(usize) -> Symbol,
    ) -> Outlined {
        let moved = self.dependents(params);
        let mut o = Outliner::new(self, name);
        for &id in &moved {
            let mut node = o.around.node(id).clone();
            node.operands.iter_mut().for_each(|v| *v = o.value(*v));
            o.insert(id, node);
        }
        let roots = roots.iter().map(|&v| o.value(v)).collect();
        let outlined = Outlined { graph: o.inner, roots, kept: o.kept };
        // Youngest first: petgraph finds an edge by walking its source's users from the newest.
        moved.iter().rev().for_each(|&id| self.remove(id));
        outlined
    }
}

struct Outliner<'g> {
    around: &'g Graph,
    name: &'g dyn Fn(usize) -> Symbol,
    inner: Graph,
    values: FxHashMap<ValueId, ValueId>,
    scopes: FxHashMap<ScopeId, ScopeId>,
    kept: Vec<ValueId>,
}

impl<'g> Outliner<'g> {
    fn new(around: &'g Graph, name: &'g dyn Fn(usize) -> Symbol) -> Outliner<'g> {
        let mut inner = Graph::new(around.name.clone());
        inner.stage = around.stage;
        Outliner {
            around,
            name,
            inner,
            values: FxHashMap::default(),
            scopes: FxHashMap::default(),
            kept: vec![],
        }
    }

    /// A value in the inner graph: what moved there, else a new input.
    fn value(&mut self, v: ValueId) -> ValueId {
        if let Some(&inner) = self.values.get(&v) {
            return inner;
        }
        let ty = self.around.ty(v).clone();
        let op = Input { name: (self.name)(self.kept.len()), ty: ty.clone() };
        let prov = self.around.node(v.node).prov;
        let node =
            Node { op: op.into(), operands: Default::default(), results: [ty].into_iter().collect(), prov };
        self.kept.push(v);
        let inner = self.add(node).value();
        self.values.insert(v, inner);
        inner
    }

    fn insert(&mut self, id: NodeId, node: Node) {
        let results = node.results.len();
        let inner = self.add(node);
        for i in 0..results {
            self.values.insert(id.result(i), inner.result(i));
        }
    }

    fn add(&mut self, mut node: Node) -> NodeId {
        let (inner, around) = (&mut self.inner, self.around);
        let outer = node.prov.scope;
        node.prov.scope =
            *self.scopes.entry(outer).or_insert_with(|| inner.scope(&around.scope_path(outer).clone()));
        self.inner.insert(node)
    }
}
