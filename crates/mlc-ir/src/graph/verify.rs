//! The verifier: what a graph must satisfy. A violation is a bug of the compiler, never of its user.
//!
//! At every stage:
//! - **V1** Every operand, output and write names a result of a node of the graph.
//! - **V2** petgraph's edges mirror the operands: as many edges from node to node as operands.
//! - **V3** The graph is acyclic.
//! - **V4** A node's results are what its op's type rule gives: dtype equal, dims equal as far as the
//!   facts prove, and the device, where the rule fixes one.
//! - **V5** Output names are distinct; no state is written twice.
//! - **V6** All reads of one state have one type, and a write has the type of the reads.
//! - **V7** Input names are distinct.
//! - **V8** Every name in a dim is declared.
//! - **V9** No dim is negative or out of the 64-bit integers.
//! - **V10** A node's scope is in the graph's table.
//! - **V15** A region follows all of these rules itself, and stores neither dims nor checks. From
//!   [`Stage::Placed`] its values are on the device of its node.
//!
//! From [`Stage::Placed`]:
//! - **V11** Every value has a device.
//! - **V12** The operands and results of a node are on one device; only a `transfer` crosses, to
//!   another device than its operand's, and a write stays on its state's device. A `grad` stands
//!   outside this: its results are where the values are that it is taken by.
//!
//! From [`Stage::Differentiated`]:
//! - **V13** There is no `grad` and no `stop_gradient`.
//!
//! From [`Stage::Bound`]:
//! - **V14** Every dim is a number, there is no `dim` node, and no check is pending.

use std::fmt;

use mlc_diag::{Diagnostic, Diagnostics, Span};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Graph, Node, NodeId, Stage, ValueId};
use crate::op::{InferCx, Op};
use crate::program::StateDecl;
use crate::types::{Device, Dim, DimFacts, Proof, Relation, Symbol, Type};

/// One broken rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// `V4`.
    pub rule: &'static str,
    pub node: Option<NodeId>,
    pub message: String,
    pub span: Span,
}

/// All broken rules of one graph; never empty as an error.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyErrors {
    /// Name and stage of the graph.
    pub graph: String,
    pub violations: Vec<Violation>,
}

/// Holds the graph against the rules of its stage.
///
/// # Errors
/// Every broken rule; where V1 to V3 are broken, only those.
pub fn verify(graph: &Graph) -> Result<(), VerifyErrors> {
    let mut v = Verifier { graph, violations: vec![] };
    v.structure();
    if v.violations.is_empty() {
        v.ends();
        for id in graph.ids() {
            v.node(id);
        }
        v.states();
        v.bound();
    }
    v.finish()
}

/// As [`verify`], and that every state of the graph is declared with the type it is used with (V6).
///
/// # Errors
/// As [`verify`].
pub fn verify_entry(graph: &Graph, states: &[StateDecl]) -> Result<(), VerifyErrors> {
    verify(graph)?;
    let mut v = Verifier { graph, violations: vec![] };
    let declared: FxHashMap<&str, &Type> = states.iter().map(|s| (&*s.path, &s.ty)).collect();
    for id in graph.ids() {
        if let Op::State(op) = &graph.node(id).op {
            v.declared(Some(id), &op.path, &op.ty, &declared);
        }
    }
    for w in &graph.writes {
        v.declared(Some(w.value.node), &w.state, graph.ty(w.value), &declared);
    }
    v.finish()
}

struct Verifier<'g> {
    graph: &'g Graph,
    violations: Vec<Violation>,
}

impl Verifier<'_> {
    fn broken(&mut self, rule: &'static str, node: Option<NodeId>, message: impl Into<String>) {
        let span = node.and_then(|n| self.graph.get(n)).map_or(Span::NONE, |n| n.prov.span);
        self.violations.push(Violation { rule, node, message: message.into(), span });
    }

    fn finish(self) -> Result<(), VerifyErrors> {
        if self.violations.is_empty() {
            return Ok(());
        }
        let graph = format!("{} ({})", self.graph.name, self.graph.stage);
        Err(VerifyErrors { graph, violations: self.violations })
    }

    fn exists(&self, v: ValueId) -> bool {
        self.graph.get(v.node).is_some_and(|n| (v.result as usize) < n.results.len())
    }

    /// V1, V2, V3.
    fn structure(&mut self) {
        let graph = self.graph;
        let ends = graph
            .outputs
            .iter()
            .map(|o| (o.value, "output"))
            .chain(graph.writes.iter().map(|w| (w.value, "write")));
        for (value, what) in ends {
            if !self.exists(value) {
                self.broken("V1", None, format!("an {what} is {value}, which is not in the graph"));
            }
        }
        for id in graph.ids() {
            let operands = &graph.node(id).operands;
            for &v in operands {
                if !self.exists(v) {
                    self.broken("V1", Some(id), format!("operand {v} is not in the graph"));
                }
            }
            let (mut want, mut have): (Vec<NodeId>, _) =
                (operands.iter().map(|v| v.node).collect(), graph.edge_sources(id));
            want.sort_unstable();
            have.sort_unstable();
            if want != have {
                self.broken("V2", Some(id), format!("edges from {have:?} for operands of {want:?}"));
            }
        }
        if self.violations.is_empty() && graph.topo_order().len() != graph.len() {
            self.broken("V3", None, "the graph has a cycle");
        }
    }

    /// V5, V7, and the dims of outputs.
    fn ends(&mut self) {
        let graph = self.graph;
        let mut names: FxHashSet<&str> = FxHashSet::default();
        for o in &graph.outputs {
            if !names.insert(&o.name) {
                self.broken("V5", Some(o.value.node), format!("two outputs are called `{}`", o.name));
            }
            if let Some(w) = &o.weight {
                self.dim(Some(o.value.node), w, false);
            }
        }
        names.clear();
        for w in &graph.writes {
            if !names.insert(&w.state) {
                self.broken("V5", Some(w.value.node), format!("state `{}` is written twice", w.state));
            }
        }
        names.clear();
        for id in graph.ids() {
            if let Op::Input(op) = &graph.node(id).op
                && !names.insert(&op.name)
            {
                self.broken("V7", Some(id), format!("two inputs are called `{}`", op.name));
            }
        }
    }

    /// V4, V8 to V13.
    fn node(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        for d in node.op.dims() {
            self.dim(Some(id), &d, matches!(node.op, Op::DimScalar(_)));
        }
        for d in node.results.iter().flat_map(|t| &t.shape) {
            self.dim(Some(id), d, false);
        }
        self.types(id, node);
        if self.graph.scopes().get(node.prov.scope.0 as usize).is_none() {
            self.broken("V10", Some(id), "its scope is not in the graph's table");
        }
        if self.graph.stage >= Stage::Placed {
            self.devices(id, node);
        }
        self.region(id, node);
        if self.graph.stage >= Stage::Differentiated && matches!(node.op, Op::Grad(_) | Op::StopGradient(_)) {
            self.broken("V13", Some(id), format!("`{}` in a differentiated graph", node.op.name()));
        }
        if self.graph.stage >= Stage::Bound && matches!(node.op, Op::DimScalar(_)) {
            self.broken("V14", Some(id), "a `dim` node in a bound graph");
        }
    }

    /// V8, V9, V14.
    fn dim(&mut self, node: Option<NodeId>, d: &Dim, may_be_negative: bool) {
        if d.is_overflow() || (!may_be_negative && d.as_const().is_some_and(|n| n < 0)) {
            return self.broken("V9", node, format!("the dim {d}"));
        }
        if d.as_const().is_some() {
            return;
        }
        if self.graph.stage >= Stage::Bound {
            return self.broken("V14", node, format!("the dim {d} is not bound"));
        }
        for name in d.symbols() {
            if !self.graph.dims.declares(&name) {
                self.broken("V8", node, format!("the dim name `{name}` is not declared"));
            }
        }
    }

    /// V4.
    fn types(&mut self, id: NodeId, node: &Node) {
        let graph = self.graph;
        let operands: Vec<Type> = node.operands.iter().map(|&v| graph.ty(v).clone()).collect();
        let spans: Vec<Span> = node.operands.iter().map(|&v| graph.span(v)).collect();
        let mut cx = InferCx::new(&graph.dims, node.prov.span, &spans);
        let want = match node.op.infer(&mut cx, &operands) {
            Ok(types) => types,
            Err(e) => return self.broken("V4", Some(id), format!("its type rule says: {}", e.title)),
        };
        if want.len() != node.results.len() {
            let title = format!("{} results where its op has {}", node.results.len(), want.len());
            return self.broken("V4", Some(id), title);
        }
        for (i, (want, have)) in want.iter().zip(&node.results).enumerate() {
            let device = want.device.is_none_or(|d| have.device == Some(d));
            if !device || !self.same_type(want, have) {
                let title = format!("result {i} is {have}, its type rule says {want}");
                self.broken("V4", Some(id), title);
            }
        }
    }

    /// Equal dtype, and dims equal by the facts.
    fn same_type(&self, a: &Type, b: &Type) -> bool {
        let same = |(a, b): (&Dim, &Dim)| a == b || self.graph.dims.prove(a, Relation::Eq, b) == Proof::Holds;
        a.dtype == b.dtype && a.rank() == b.rank() && a.shape.iter().zip(&b.shape).all(same)
    }

    /// V11, V12.
    fn devices(&mut self, id: NodeId, node: &Node) {
        let graph = self.graph;
        if node.results.iter().any(|t| t.device.is_none()) {
            return self.broken("V11", Some(id), "a result has no device");
        }
        let mut all: Vec<Device> = node.operands.iter().filter_map(|&v| graph.ty(v).device).collect();
        if let Op::Transfer(_) = node.op {
            if all.first() == node.results[0].device.as_ref() {
                self.broken("V12", Some(id), "a transfer to the device where its operand is");
            }
            return;
        }
        // Its results are where the values are that it is taken by: the type rule says so (V4).
        if let Op::Grad(_) = node.op {
            return;
        }
        all.extend(node.results.iter().filter_map(|t| t.device));
        if let Some(other) = all.iter().find(|d| **d != all[0]) {
            self.broken("V12", Some(id), format!("operands and results on {} and {other}", all[0]));
        }
    }

    /// V15.
    fn region(&mut self, id: NodeId, node: &Node) {
        let (Some(region), Some(body)) = (node.op.region(), self.graph.region(id)) else { return };
        if !region.graph().checks.is_empty() || region.graph().dims != DimFacts::default() {
            self.broken("V15", Some(id), "its region has dims or checks of its own");
        }
        let device = node.results.first().and_then(|t| t.device);
        let stray = |n: &NodeId| body.node(*n).results.iter().any(|t| t.device != device);
        if let (Some(d), Some(n)) = (device, body.ids().find(stray)) {
            self.broken("V15", Some(id), format!("{n} of its region is not on {d}"));
        }
        if let Err(e) = verify(&body) {
            for v in e.violations {
                self.violations
                    .push(Violation { message: format!("in the region of {id}: {}", v.message), ..v });
            }
        }
    }

    /// V6, and the device part of V12 for writes.
    fn states(&mut self) {
        let graph = self.graph;
        let mut types: FxHashMap<Symbol, &Type> = FxHashMap::default();
        for id in graph.ids() {
            let node = graph.node(id);
            let Op::State(op) = &node.op else { continue };
            let ty = &node.results[0];
            let first = *types.entry(op.path.clone()).or_insert(ty);
            if first != ty {
                self.broken("V6", Some(id), format!("state `{}` read as {first} and as {ty}", op.path));
            }
        }
        for w in &graph.writes {
            let have = graph.ty(w.value);
            let Some(&want) = types.get(&w.state) else { continue };
            if !self.same_type(want, have) {
                let title = format!("state `{}` is {want} and is written as {have}", w.state);
                self.broken("V6", Some(w.value.node), title);
            }
            if graph.stage >= Stage::Placed && want.device != have.device {
                self.broken(
                    "V12",
                    Some(w.value.node),
                    format!("a write of `{}` ({want}) as {have}", w.state),
                );
            }
        }
    }

    fn declared(
        &mut self,
        node: Option<NodeId>,
        path: &Symbol,
        ty: &Type,
        declared: &FxHashMap<&str, &Type>,
    ) {
        match declared.get(&**path) {
            None => self.broken("V6", node, format!("state `{path}` is not declared")),
            Some(want) if !self.same_type(want, ty) => {
                self.broken("V6", node, format!("state `{path}` is declared as {want} and used as {ty}"));
            }
            Some(_) => {}
        }
    }

    /// V14 for the graph as a whole.
    fn bound(&mut self) {
        if self.graph.stage >= Stage::Bound && !self.graph.checks.is_empty() {
            let title = format!("{} checks are pending in a bound graph", self.graph.checks.len());
            self.broken("V14", None, title);
        }
    }
}

impl VerifyErrors {
    /// As diagnostics that name the pass that broke the rules.
    pub fn after_pass(self, pass: &str) -> Diagnostics {
        let mut ds = Diagnostics::from(self);
        for d in &mut ds.0 {
            d.notes.push(format!("found after pass `{pass}`"));
        }
        ds
    }
}

impl From<VerifyErrors> for Diagnostics {
    fn from(e: VerifyErrors) -> Diagnostics {
        let bug =
            |v: &Violation| Diagnostic::bug(format!("in graph {}: {v}", e.graph)).label(v.span, "this node");
        Diagnostics(e.violations.iter().map(bug).collect())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "{} at {node}: {}", self.rule, self.message),
            None => write!(f, "{}: {}", self.rule, self.message),
        }
    }
}

impl fmt::Display for VerifyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "graph {}", self.graph)?;
        self.violations.iter().try_for_each(|v| write!(f, "\n  {v}"))
    }
}

impl std::error::Error for VerifyErrors {}
