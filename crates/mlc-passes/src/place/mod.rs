//! Gives every value a device and inserts the transfers that this takes.
//!
//! Input: a built graph, where devices stand on what the program annotates. Output: a placed graph: the
//! operands of every node are on its device, and only `transfer` nodes cross.
//!
//! ```text
//! %0: u8[batch,784]  = input "image"                  %0: u8[batch,784] @cpu:0   = input "image"
//! %1: f32[batch,784] = cast %0              =>        %1: u8[batch,784] @cuda:0  = transfer %0
//! %2: f32[128,784] @cuda:0 = state "w"                %2: f32[batch,784] @cuda:0 = cast %1
//! %3: f32[batch,128] = contract %1, %2                ..
//! ```
//! - Where a value is computed: `assign`. What is annotated nowhere goes to the target.
//! - A value crosses to a device at most once, from where it is computed, and just before its first use.
//! - What is smaller to send than its result is sent instead: a widening cast, a broadcast, a constant
//!   or an index is computed where it is used, on both sides if need be.
//! - A value that was sent is never sent back: its source is used.

mod assign;
mod report;

use std::collections::BTreeMap;

use mlc_diag::{Diagnostic, Diagnostics, Span};
use mlc_ir::graph::{Graph, Node, NodeId, Phase, Stage, ValueId};
use mlc_ir::op::{Op, Transfer};
use mlc_ir::{Device, Symbol};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::smallvec;

use crate::pass::{Decision, Pass, PassCx};

pub use report::{Crossing, crossings};

/// Clones at most this many nodes to avoid one transfer.
const MAX_CLONE_DEPTH: usize = 16;

#[derive(Debug, Clone)]
pub struct Place {
    /// Where what is not annotated goes.
    pub target: Device,
    /// Where inputs arrive.
    pub host: Device,
    /// Other devices for those of the program (`--device cuda:1=cpu:1`); applied once, not chained.
    pub remap: BTreeMap<Device, Device>,
    /// Where states live that the program annotates; the others are on the target.
    pub states: BTreeMap<Symbol, Device>,
    /// Is every crossing that is not spelled `.to` an error?
    pub explicit: bool,
}

impl Place {
    /// Everything on one device, inputs from the host.
    pub fn on(target: Device) -> Place {
        Place { target, host: Device::CPU, remap: BTreeMap::new(), states: BTreeMap::new(), explicit: false }
    }

    fn remapped(&self, d: Device) -> Device {
        self.remap.get(&d).copied().unwrap_or(d)
    }

    fn state_device(&self, path: &Symbol, annotated: Option<Device>) -> Device {
        let device = annotated.or_else(|| self.states.get(path).copied());
        device.map_or(self.target, |d| self.remapped(d))
    }
}

impl Pass for Place {
    fn name(&self) -> &'static str {
        "place"
    }

    fn stage_after(&self) -> Option<Stage> {
        Some(Stage::Placed)
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<(), Diagnostics> {
        let homes = assign::homes(self, graph);
        let mut placer = Placer::new(self, graph, homes);
        placer.place();
        let errors = std::mem::take(&mut placer.errors);
        let new = placer.finish();
        *graph = new;
        for c in crossings(graph) {
            cx.decide(Decision {
                pass: "place",
                subject: c.value.to_string(),
                verdict: "transferred",
                reason: format!("{} bytes from {} to {}", c.bytes, c.from, c.to),
                spans: vec![c.span],
            });
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// A region is on the device of its node, all of it.
    fn run_region(&self, body: &mut Graph, node: &Node, cx: &mut PassCx) -> Result<(), Diagnostics> {
        let device = node.results.first().and_then(|t| t.device).unwrap_or(self.target);
        let elsewhere = |n: &Node| match &n.op {
            Op::Transfer(op) => Some(self.remapped(op.to)),
            _ => n.results.iter().find_map(|t| t.device).map(|d| self.remapped(d)),
        };
        let stray = body.ids().map(|n| body.node(n)).find(|n| elsewhere(n).is_some_and(|d| d != device));
        if let Some(n) = stray {
            return Err(Diagnostic::error("E0499", "several devices in one run-time loop are not built yet")
                .label(n.prov.span, "on another device here")
                .label(node.prov.span, format!("this loop runs on {device}"))
                .hint("place the whole loop: `on device { scan .. }`")
                .into());
        }
        let inside = Place { target: device, host: device, states: BTreeMap::new(), ..self.clone() };
        inside.run(body, cx)
    }
}

/// Builds the placed graph.
struct Placer<'a> {
    place: &'a Place,
    old: &'a Graph,
    new: Graph,
    /// The device of each node of `old`, by id.
    homes: Vec<Device>,
    /// The new value of a value of `old` on a device.
    at: FxHashMap<(ValueId, Device), ValueId>,
    /// What something is differentiated by: every use must go through this very value.
    pinned: FxHashSet<ValueId>,
    errors: Diagnostics,
}

impl<'a> Placer<'a> {
    fn new(place: &'a Place, old: &'a Graph, homes: Vec<Device>) -> Self {
        let pinned = old.grad_variables();
        let at = FxHashMap::default();
        Placer { place, old, new: old.emptied(), homes, at, pinned, errors: Diagnostics::new() }
    }

    fn home(&self, v: ValueId) -> Device {
        if let Op::Grad(_) = self.old.node(v.node).op {
            // A gradient is where what it is taken by is.
            return self.home(self.old.node(v.node).operands[v.result as usize + 1]);
        }
        self.homes[v.node.0 as usize]
    }

    fn place(&mut self) {
        for id in self.old.topo_order() {
            let node = self.old.node(id);
            match &node.op {
                Op::Transfer(_) => {
                    let source = node.operands[0];
                    let here = self.homes[id.0 as usize];
                    let v = self.value_on(source, here, node, true, 0);
                    self.at.insert((id.value(), here), v);
                }
                Op::Grad(_) => self.place_grad(id),
                _ => {
                    self.node_on(id, self.homes[id.0 as usize], 0);
                }
            }
        }
    }

    fn place_grad(&mut self, id: NodeId) {
        let mut node = self.old.node(id).clone();
        for v in &mut node.operands {
            let user = self.old.node(id);
            *v = self.value_on(*v, self.home(*v), user, false, 0);
        }
        for i in 0..node.results.len() {
            node.results[i].device = Some(self.home(id.result(i)));
        }
        let values = self.new.insert_values(node);
        for (i, v) in values.into_iter().enumerate() {
            self.at.insert((id.result(i), self.home(id.result(i))), v);
        }
    }

    /// Inserts a node (or a copy of it) on a device, its operands brought there.
    fn node_on(&mut self, id: NodeId, device: Device, depth: usize) {
        let user = self.old.node(id);
        let mut node = user.clone();
        for v in &mut node.operands {
            *v = self.value_on(*v, device, user, false, depth);
        }
        for ty in &mut node.results {
            ty.device = Some(device);
        }
        match &mut node.op {
            Op::Input(op) => op.ty.device = Some(device),
            Op::State(op) => op.ty.device = Some(device),
            _ => {}
        }
        let values = self.new.insert_values(node);
        for (i, v) in values.into_iter().enumerate() {
            self.at.insert((id.result(i), device), v);
        }
    }

    /// The new value of `v` on a device, for `user` (a transfer of the program, if `explicit`).
    fn value_on(&mut self, v: ValueId, device: Device, user: &Node, explicit: bool, depth: usize) -> ValueId {
        if let Some(&done) = self.at.get(&(v, device)) {
            if explicit {
                self.mark_explicit(done);
            }
            return done;
        }
        // Not what was sent here or elsewhere, but where it came from: no round trips, one transfer each.
        let origin = self.origin(v);
        if origin != v {
            return self.value_on(origin, device, user, explicit, depth);
        }
        let source = self.old.node(v.node);
        if depth < MAX_CLONE_DEPTH && !self.pinned.contains(&v) && self.cheaper_there(source) {
            self.node_on(v.node, device, depth + 1);
            return self.at[&(v, device)];
        }
        let home = self.home(v);
        let value = self.at[&(v, home)];
        let ty = self.new.ty(value).clone().on(device);
        // The error and the report point at the use; where it has no place, at what is sent.
        let mut prov = user.prov;
        prov.phase = Phase::Infra;
        if prov.span.is_none() {
            prov.span = source.prov.span;
        }
        if explicit {
            prov = user.prov;
        } else {
            self.check_implicit(source, home, device, prov.span);
        }
        let op = Transfer { to: device, explicit }.into();
        let sent = self.new.insert(Node { op, operands: smallvec![value], results: smallvec![ty], prov });
        self.at.insert((v, device), sent.value());
        sent.value()
    }

    /// The value that transfers of the program brought to where `v` is.
    fn origin(&self, mut v: ValueId) -> ValueId {
        while let Op::Transfer(_) = self.old.node(v.node).op
            && !self.pinned.contains(&v)
        {
            v = self.old.node(v.node).operands[0];
        }
        v
    }

    /// Is it cheaper to compute a node again where it is used than to send its result?
    fn cheaper_there(&self, node: &Node) -> bool {
        match &node.op {
            Op::Constant(_) | Op::DimScalar(_) | Op::Iota(_) => true,
            Op::Broadcast(_) => true,
            Op::Cast(op) => self.old.ty(node.operands[0]).dtype.size() < op.to.size(),
            _ => false,
        }
    }

    /// A transfer of the program that does what an inserted one already did.
    fn mark_explicit(&mut self, v: ValueId) {
        if let Op::Transfer(t) = &self.new.node(v.node).op {
            let op = Transfer { explicit: true, ..t.clone() };
            self.new.set_op(v.node, op.into());
        }
    }

    /// Under `transfers explicit`: inputs may cross, and scalars (they cost no bandwidth, and what the
    /// compiler adds, as the seed, is one); anything else needs a `.to`.
    fn check_implicit(&mut self, source: &Node, from: Device, to: Device, user: Span) {
        let ty = &source.results[0];
        if !self.place.explicit || matches!(source.op, Op::Input(_)) || ty.rank() == 0 {
            return;
        }
        let (dtype, shape) = (ty.dtype, mlc_ir::types::ShapeText(&ty.shape));
        let d =
            Diagnostic::error("E0501", format!("{dtype}{shape} crosses from {from} to {to} without a `.to`"))
                .label(user, format!("used on {to} here"))
                .label(source.prov.span, format!("computed on {from} here"))
                .hint(format!("write the crossing down: `.to({to})`; or drop `transfers explicit`"));
        self.errors.push(d);
    }

    /// Brings written values to their states, and maps the outputs.
    fn finish(mut self) -> Graph {
        for mut o in self.old.outputs.clone() {
            o.value = self.at[&(o.value, self.home(o.value))];
            self.new.outputs.push(o);
        }
        let read = assign::state_reads(self.place, self.old);
        for mut w in self.old.writes.clone() {
            let device =
                read.get(&w.state).copied().unwrap_or_else(|| self.place.state_device(&w.state, None));
            let user = self.old.node(w.value.node);
            w.value = self.value_on(w.value, device, user, false, 0);
            self.new.writes.push(w);
        }
        self.new
    }
}
