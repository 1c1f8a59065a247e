//! What crosses between devices, read off a placed graph.

use mlc_diag::Span;
use mlc_ir::graph::{Graph, Phase, ValueId};
use mlc_ir::op::Op;
use mlc_ir::{Device, Dim};

/// One `transfer` of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Crossing {
    /// What is sent.
    pub value: ValueId,
    pub from: Device,
    pub to: Device,
    /// In each run of the entry; symbolic until dims are bound.
    pub bytes: Dim,
    /// `Backward` for the gradient of a crossing.
    pub phase: Phase,
    /// Did the program write `.to`?
    pub explicit: bool,
    /// Is it an input on its way to where it is used? Those count for no contract.
    pub input: bool,
    /// The use (or the `.to`).
    pub span: Span,
}

/// All crossings, in the graph's order.
pub fn crossings(graph: &Graph) -> Vec<Crossing> {
    let crossing = |id| {
        let node = graph.node(id);
        let Op::Transfer(op) = &node.op else { return None };
        let value = node.operands[0];
        let ty = graph.ty(value);
        Some(Crossing {
            value,
            from: ty.device?,
            to: op.to,
            bytes: &ty.count() * &Dim::from(ty.dtype.size()),
            phase: node.prov.phase,
            explicit: op.explicit,
            input: matches!(graph.node(value.node).op, Op::Input(_)),
            span: node.prov.span,
        })
    };
    graph.topo_order().into_iter().filter_map(crossing).collect()
}
