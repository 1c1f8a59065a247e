//! Residuals: the backward part makes cheap values of the forward part again instead of keeping them.
//!
//! The derivative of `gelu(h)` uses the tanh that the forward part computed. Kept, it is a tensor as large as
//! h in memory from the forward to the backward part; but h has to be kept anyway, and the tanh follows from
//! it alone. So the backward part gets nodes of its own that compute it from h. Without such uses across the
//! parts the whole activation fuses into the matrix product before it.
//!
//! Input: a decomposed graph. Output: the same values, each expression once more where it is used late.
//! A forward value v is made again if some value d stays in memory anyway (a matrix product reads it, it is a
//! source or result, or the backward part uses it too), v is a function of d and constants alone, and that is
//! cheap. One case looks the other way: `where(x <= k, k, x) <= k` is `x <= k`, also for NaN, so that a mask
//! follows from the result of the choice that it made (relu).
//!
//! ```text
//!   %1 = tanh %0                                     %1 = tanh %0
//!   ..                                               ..
//!   %8 = mul %7, %1   backward                       %7' = tanh %0      backward
//!                                                    %8 = mul %7, %7'   backward
//! ```

use mlc_diag::Diagnostics;
use mlc_ir::graph::{Graph, Node, NodeId, Phase, Stage, ValueId};
use mlc_ir::lower::{Rule, Weight, base, count, extents};
use mlc_ir::op::{Op, ScalarFn};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

use crate::pass::{Decision, Pass, PassCx};

/// Nodes that are repeated for one value.
const MAX_NODES: usize = 16;
/// Function expansions among them.
const MAX_HEAVY: usize = 2;

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Residuals;

impl Pass for Residuals {
    fn name(&self) -> &'static str {
        "residuals"
    }

    fn stage_before(&self) -> Stage {
        Stage::Decomposed
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<(), Diagnostics> {
        let plans = Finder::new(graph).find();
        if plans.is_empty() {
            return Ok(());
        }
        for (v, plan) in &plans {
            cx.decide(decision(graph, *v, plan));
        }
        let old: FxHashMap<NodeId, Node> = graph.ids().map(|n| (n, graph.node(n).clone())).collect();
        let mut rewriter = Rewriter { plans, old, new: FxHashMap::default(), made: FxHashMap::default() };
        graph.rebuild(|new, id, node| Ok(rewriter.emit(new, id, node)))
    }
}

fn decision(graph: &Graph, v: ValueId, plan: &Plan) -> Decision {
    let node = graph.node(v.node);
    let reason = match plan {
        Plan::Again(_) => "the backward part makes it again from a value that is in memory anyway",
        Plan::Mask { .. } => "the backward part reads the mask off the result of the choice",
    };
    let subject = format!("{} {}", mlc_ir::lower::kernel_name(graph, v), v);
    let spans = if node.prov.span.is_none() { vec![] } else { vec![node.prov.span] };
    Decision { pass: "fusion", subject, verdict: "recomputed", reason: reason.into(), spans }
}

/// How a value is made again.
#[derive(Debug, Clone)]
enum Plan {
    /// These nodes in order; the last gives the value.
    Again(Vec<NodeId>),
    /// `x <= k` from `chosen = where(x <= k, k, x)`: the node, with `chosen` for x.
    Mask { chosen: ValueId },
}

fn late(phase: Phase) -> bool {
    matches!(phase, Phase::Backward | Phase::Update)
}

struct Finder<'g> {
    graph: &'g Graph,
    position: FxHashMap<NodeId, u32>,
    order: Vec<NodeId>,
    /// By node: does it lie in memory anyway?
    kept: FxHashMap<NodeId, bool>,
}

impl<'g> Finder<'g> {
    fn new(graph: &'g Graph) -> Finder<'g> {
        let order = graph.topo_order();
        let position = order.iter().enumerate().map(|(i, &n)| (n, i as u32)).collect();
        let mut finder = Finder { graph, position, order, kept: FxHashMap::default() };
        finder.find_kept();
        finder
    }

    fn find_kept(&mut self) {
        let graph = self.graph;
        let results = graph.outputs.iter().map(|o| o.value).chain(graph.writes.iter().map(|w| w.value));
        let mut kept: Vec<NodeId> = results.map(|v| base(graph, v).node).collect();
        for &id in &self.order {
            let node = graph.node(id);
            match node.op.lowering().rule() {
                Rule::Stored => kept.push(id),
                Rule::Contract(_) => kept.extend(node.operands.iter().map(|&v| base(graph, v).node)),
                _ => {}
            }
        }
        self.kept = kept.into_iter().map(|n| (n, true)).collect();
    }

    fn find(&self) -> FxHashMap<ValueId, Plan> {
        let mut plans = FxHashMap::default();
        for &id in &self.order {
            let node = self.graph.node(id);
            let map = matches!(node.op, Op::Elementwise(_) | Op::Cast(_));
            if !map || node.prov.phase != Phase::Forward || self.kept.contains_key(&id) || !self.used_late(id)
            {
                continue;
            }
            let plan = self.mask(id).or_else(|| self.again(id, &plans));
            if let Some(plan) = plan {
                plans.insert(id.value(), plan);
            }
        }
        plans
    }

    fn used_late(&self, id: NodeId) -> bool {
        self.graph.users(id).into_iter().any(|u| late(self.graph.node(u).prov.phase))
    }

    fn elements(&self, v: ValueId) -> u64 {
        extents(self.graph, v).map_or(0, |s| count(&s))
    }

    /// Is the value the same everywhere and known?
    fn constant(&self, v: ValueId) -> Option<&'g mlc_ir::op::Literal> {
        match &self.graph.node(base(self.graph, v).node).op {
            Op::Constant(c) => Some(&c.value),
            _ => None,
        }
    }

    /// `x <= k`, where a choice by it that stays in memory gives k or x.
    fn mask(&self, id: NodeId) -> Option<Plan> {
        let node = self.graph.node(id);
        let is = |n: &Node, f: ScalarFn| matches!(&n.op, Op::Elementwise(e) if e.f == f);
        if !is(node, ScalarFn::Le) {
            return None;
        }
        let (x, k) = (node.operands[0], self.constant(node.operands[1])?);
        let choice = self.graph.users(id).into_iter().find(|&u| {
            let c = self.graph.node(u);
            is(c, ScalarFn::Select)
                && c.prov.phase == Phase::Forward
                && c.operands[0] == id.value()
                && c.operands[2] == x
                && self.constant(c.operands[1]) == Some(k)
                && self.kept.contains_key(&u)
        })?;
        Some(Plan::Mask { chosen: choice.value() })
    }

    /// The nodes between a value that stays in memory and this one, which follows from it alone.
    fn again(&self, id: NodeId, plans: &FxHashMap<ValueId, Plan>) -> Option<Plan> {
        let size = self.elements(id.value());
        let (mut nodes, mut heavy) = (vec![], 0);
        let mut open = BTreeSet::from([(self.position[&id], id)]);
        while let Some((_, n)) = open.pop_last() {
            let node = self.graph.node(n);
            if n != id && open.is_empty() && self.stays(n, size) && !plans.contains_key(&n.value()) {
                nodes.reverse();
                return Some(Plan::Again(nodes));
            }
            let Rule::Element(rule) = node.op.lowering().rule() else { return None };
            if !matches!(node.op, Op::Elementwise(_) | Op::Cast(_)) || self.kept.contains_key(&n) {
                return None;
            }
            heavy += usize::from(rule.cost(node).weight == Weight::Heavy);
            nodes.push(n);
            if nodes.len() > MAX_NODES || heavy > MAX_HEAVY {
                return None;
            }
            let operands = node.operands.iter().filter(|&&o| self.constant(o).is_none());
            open.extend(operands.map(|o| (self.position[&o.node], o.node)));
        }
        None
    }

    /// Is the node's value in memory for the backward part anyway?
    fn stays(&self, n: NodeId, size: u64) -> bool {
        self.elements(n.value()) == size && (self.kept.contains_key(&n) || self.used_late(n))
    }
}

struct Rewriter {
    plans: FxHashMap<ValueId, Plan>,
    old: FxHashMap<NodeId, Node>,
    /// Old values in the new graph.
    new: FxHashMap<ValueId, ValueId>,
    /// Old values that are made again there.
    made: FxHashMap<ValueId, ValueId>,
}

impl Rewriter {
    fn emit(&mut self, graph: &mut Graph, id: NodeId, mut node: Node) -> mlc_ir::graph::Values {
        if late(node.prov.phase) {
            let operands = self.old[&id].operands.clone();
            for (i, old) in operands.iter().enumerate() {
                if self.plans.contains_key(old) {
                    node.operands[i] = self.make(graph, *old);
                }
            }
        }
        let values = graph.insert_values(node);
        for (i, &v) in values.iter().enumerate() {
            self.new.insert(id.result(i), v);
        }
        values
    }

    /// The value made again, once.
    fn make(&mut self, graph: &mut Graph, v: ValueId) -> ValueId {
        if let Some(&made) = self.made.get(&v) {
            return made;
        }
        let made = match self.plans[&v].clone() {
            Plan::Again(nodes) => {
                let mut last = v;
                for n in nodes {
                    last = self.made.get(&n.value()).copied().unwrap_or_else(|| self.copy(graph, n, None));
                }
                last
            }
            Plan::Mask { chosen } => self.copy(graph, v.node, Some(chosen)),
        };
        self.made.insert(v, made);
        made
    }

    /// A copy of an old node in the backward part, its first operand perhaps another old value.
    fn copy(&mut self, graph: &mut Graph, n: NodeId, first: Option<ValueId>) -> ValueId {
        let mut node = self.old[&n].clone();
        for (i, o) in node.operands.iter_mut().enumerate() {
            let old = first.filter(|_| i == 0).unwrap_or(*o);
            *o = self.made.get(&old).or_else(|| self.new.get(&old)).copied().unwrap_or(*o);
        }
        node.prov.phase = Phase::Backward;
        let copy = graph.insert_values(node)[0];
        self.made.insert(n.value(), copy);
        copy
    }
}
