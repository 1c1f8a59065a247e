//! On which device each node is computed.
//!
//! Seeds are annotations (on values, states and inputs) and explicit transfers; inputs arrive on the
//! host, states without annotation live on the target. Then, in order:
//! 1. Forwards: a node is *anchored* to a device by operands that are anchored (states, annotated values,
//!    and what is computed from them). Scalars anchor scalars only: a learning rate does not pull an
//!    update to where the step is counted. A gradient is where its variable is. Where operands disagree: the device that owns a state among
//!    them, else the target of an explicit transfer, else the compile target, else the first operand's.
//! 2. Backwards: what is not anchored (inputs, constants, random numbers and what is computed from them
//!    alone) goes where its users are, if they are all on one device, else to the target.

use std::collections::BTreeMap;

use mlc_ir::graph::{Graph, NodeId, ValueId};
use mlc_ir::op::Op;
use mlc_ir::{Device, Symbol};

use super::Place;

/// The device of each state that the graph reads.
pub(super) fn state_reads(place: &Place, graph: &Graph) -> BTreeMap<Symbol, Device> {
    let read = |n: NodeId| match &graph.node(n).op {
        Op::State(op) => {
            let annotated = graph.ty(n.value()).device.or(op.ty.device);
            Some((op.path.clone(), place.state_device(&op.path, annotated)))
        }
        _ => None,
    };
    graph.ids().filter_map(read).collect()
}

/// The device of each node, by id.
pub(super) fn homes(place: &Place, graph: &Graph) -> Vec<Device> {
    let bound = graph.ids().last().map_or(0, |n| n.0 as usize + 1);
    let order = graph.topo_order();
    let mut anchors: Vec<Option<Device>> = vec![None; bound];
    for &id in &order {
        anchors[id.0 as usize] = anchor(place, graph, id, &anchors);
    }
    let states = state_reads(place, graph);
    let mut wanted: Vec<Wanted> = vec![Wanted::Nowhere; bound];
    for w in &graph.writes {
        let device = states.get(&w.state).copied().unwrap_or_else(|| place.state_device(&w.state, None));
        wanted[w.value.node.0 as usize].add(device);
    }
    let mut homes = vec![place.target; bound];
    for &id in order.iter().rev() {
        let i = id.0 as usize;
        let node = graph.node(id);
        homes[i] = match (&node.op, anchors[i], wanted[i]) {
            (Op::Input(op), ..) => {
                let annotated = graph.ty(id.value()).device.or(op.ty.device);
                annotated.map_or(place.host, |d| place.remapped(d))
            }
            (_, Some(device), _) => device,
            (_, None, Wanted::On(device)) => device,
            (_, None, _) => place.target,
        };
        for v in &node.operands {
            wanted[v.node.0 as usize].add(homes[i]);
        }
    }
    homes
}

/// Where the users of a value are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    Nowhere,
    On(Device),
    Everywhere,
}

impl Wanted {
    fn add(&mut self, d: Device) {
        *self = match *self {
            Wanted::Nowhere => Wanted::On(d),
            Wanted::On(e) if e == d => return,
            _ => Wanted::Everywhere,
        };
    }
}

fn anchor(place: &Place, graph: &Graph, id: NodeId, anchors: &[Option<Device>]) -> Option<Device> {
    let node = graph.node(id);
    match &node.op {
        // Inputs go where they are used.
        Op::Input(_) => return None,
        Op::State(op) => {
            return Some(place.state_device(&op.path, graph.ty(id.value()).device.or(op.ty.device)));
        }
        Op::Transfer(op) => return Some(place.remapped(op.to)),
        _ => {}
    }
    if let Some(annotated) = node.results.iter().find_map(|t| t.device) {
        return Some(place.remapped(annotated));
    }
    let scalar = node.results.iter().all(|t| t.rank() == 0);
    let anchored = |&v: &ValueId| {
        let device = anchors[source_of(graph, v).node.0 as usize]?;
        (scalar || graph.ty(v).rank() > 0).then_some((v, device))
    };
    let candidates: Vec<(ValueId, Device)> = node.operands.iter().filter_map(anchored).collect();
    let first = candidates.first()?.1;
    if candidates.iter().all(|c| c.1 == first) {
        return Some(first);
    }
    let by = |rank: fn(&Graph, ValueId) -> bool| candidates.iter().find(|c| rank(graph, c.0)).map(|c| c.1);
    by(owns_state)
        .or_else(|| by(|g, v| matches!(g.node(v.node).op, Op::Transfer(_))))
        .or_else(|| candidates.iter().map(|c| c.1).find(|d| *d == place.target))
        .or(Some(first))
}

/// What says where a value is: of a gradient the variable, which has the same type; else itself.
fn source_of(graph: &Graph, v: ValueId) -> ValueId {
    let node = graph.node(v.node);
    match &node.op {
        Op::Grad(_) => node.operands.get(v.result as usize + 1).copied().unwrap_or(v),
        _ => v,
    }
}

/// Is it a state, or a view or cast of one?
fn owns_state(graph: &Graph, v: ValueId) -> bool {
    let mut node = graph.node(v.node);
    loop {
        match &node.op {
            Op::State(_) => return true,
            Op::Cast(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Broadcast(_) => {
                node = graph.node(node.operands[0].node);
            }
            _ => return false,
        }
    }
}
