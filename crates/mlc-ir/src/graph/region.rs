//! Regions: closed graphs inside an op, which runs them.
//!
//! A region is an entry graph in small, so that whatever works on graphs works on regions: what it is
//! given are `input` nodes, what it carries from one run to the next are states, read by `state` nodes and
//! written by [`Graph::writes`]; its results are [`Graph::outputs`]. It is closed: no edge crosses its border.
//!
//! A region shares the stage and the dims of the graph that its op stands in. It does not store them: they
//! are lent by [`Graph::region`], and what a pass learns about dims goes back by [`Graph::set_region`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Graph, NodeId};
use crate::types::{Dim, DimFacts};

/// A graph held by an op. Equal if the text forms are.
#[derive(Clone)]
pub struct Region {
    graph: Arc<Graph>,
}

impl Region {
    /// Takes a graph without pending checks; those belong to the graph around it.
    pub fn new(mut graph: Graph) -> Region {
        graph.dims = DimFacts::default();
        graph.checks.clear();
        Region { graph: Arc::new(graph) }
    }

    /// The graph, without what it shares with the one around it.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Replaces every dim: how dims are bound.
    pub fn map_dims(&self, f: &dyn Fn(&Dim) -> Dim) -> Region {
        let mut graph = Graph::clone(&self.graph);
        let ids: Vec<NodeId> = graph.ids().collect();
        for id in ids {
            let op = graph.node(id).op.map_dims(f);
            graph.set_op(id, op);
            for i in 0..graph.node(id).results.len() {
                let mut ty = graph.ty(id.result(i)).clone();
                ty.shape.iter_mut().for_each(|d| *d = f(d));
                graph.set_type(id.result(i), ty);
            }
        }
        Region::new(graph)
    }
}

impl Graph {
    /// The nodes whose ops have a region.
    pub fn with_regions(&self) -> Vec<NodeId> {
        self.ids().filter(|&n| self.node(n).op.region().is_some()).collect()
    }

    /// The region of a node, with this graph's stage and dims.
    pub fn region(&self, id: NodeId) -> Option<Graph> {
        let region = self.node(id).op.region()?;
        let mut graph = Graph::clone(region.graph());
        graph.stage = self.stage;
        graph.dims = self.dims.clone();
        Some(graph)
    }

    /// Gives a node its region back. Dims are what the region's have become; its checks are this graph's.
    pub fn set_region(&mut self, id: NodeId, mut body: Graph) {
        self.dims = std::mem::take(&mut body.dims);
        self.checks.append(&mut body.checks);
        let op = self.node(id).op.with_region(Region::new(body));
        self.set_op(id, op);
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Region) -> bool {
        Arc::ptr_eq(&self.graph, &other.graph) || self.to_string() == other.to_string()
    }
}

impl Eq for Region {}

impl Hash for Region {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_string().hash(state);
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
