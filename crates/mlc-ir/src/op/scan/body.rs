//! The body of a scan: its ends, and how to build one.

use mlc_diag::Span;

use super::super::{Input, Op, State};
use crate::graph::{Graph, Node, Output, Prov, Region, StateWrite, ValueId};
use crate::types::{Symbol, Type};

/// A named end of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The number of the trip.
    Trip,
    Each(usize),
    Carry(usize),
    Kept(usize),
    Out(usize),
}

impl Port {
    pub fn name(self) -> String {
        match self {
            Port::Trip => "trip".into(),
            Port::Each(i) => format!("each.{i}"),
            Port::Carry(i) => format!("carry.{i}"),
            Port::Kept(i) => format!("kept.{i}"),
            Port::Out(i) => format!("out.{i}"),
        }
    }

    /// Adds the node that gives a graph the port's value.
    pub fn insert(self, graph: &mut Graph, ty: Type, prov: Prov) -> ValueId {
        let (name, results) = (Symbol::from(self.name()), [ty.clone()].into_iter().collect());
        let op: Op = match self {
            Port::Carry(_) => State { path: name, ty }.into(),
            _ => Input { name, ty }.into(),
        };
        graph.insert(Node { op, operands: Default::default(), results, prov }).value()
    }

    pub fn of(name: &str) -> Option<Port> {
        if name == "trip" {
            return Some(Port::Trip);
        }
        let (kind, i) = name.split_once('.')?;
        let i = i.parse().ok()?;
        match kind {
            "each" => Some(Port::Each(i)),
            "carry" => Some(Port::Carry(i)),
            "kept" => Some(Port::Kept(i)),
            "out" => Some(Port::Out(i)),
            _ => None,
        }
    }
}

/// Builds the body of a scan: the ends are made when they are asked for.
pub struct ScanBody {
    pub graph: Graph,
}

impl ScanBody {
    /// A body in a graph of this name.
    pub fn new(name: &str) -> ScanBody {
        ScanBody { graph: Graph::new(name) }
    }

    /// The value that a port gives the body.
    pub fn port(&mut self, port: Port, ty: Type, prov: Prov) -> ValueId {
        port.insert(&mut self.graph, ty, prov)
    }

    /// The next output.
    pub fn output(&mut self, value: ValueId, span: Span) {
        let name = Port::Out(self.graph.outputs.len()).name();
        self.graph.outputs.push(Output { name, value, weight: None, span });
    }

    /// The value of the next carry after a trip.
    pub fn carry(&mut self, value: ValueId, span: Span) {
        let state = Port::Carry(self.graph.writes.len()).name().into();
        self.graph.writes.push(StateWrite { state, value, span });
    }

    pub fn finish(self) -> Region {
        Region::new(self.graph)
    }
}
