//! Which values lie in memory, and which are computed where they are used.
//!
//! Nodes are visited against their order, so that everything that uses a value is decided before the value.
//! Each arrives with a [`Demand`]: the kernels it would be computed in, and what they ask of it. A value that
//! one kernel alone needs, at one set of coordinates, is folded into that kernel; views are folded always.

use mlc_diag::{Diagnostic, Span};
use mlc_ir::graph::{Graph, NodeId, ValueId};
use mlc_ir::lower::{Homes, Need, Rule, Weight, base, count, extents, operand_maps_are_affine};
use mlc_ir::op::Op;
use rustc_hash::FxHashSet;

use crate::Decision;

/// Limits of one kernel.
const MAX_READS: usize = 15;
const MAX_EXPRS: u32 = 96;

/// Where values live.
pub struct Storage<'g> {
    pub homes: Homes<'g>,
    /// Values that get a kernel, in topological order.
    pub roots: Vec<ValueId>,
    pub decisions: Vec<Decision>,
}

/// What the users of a value ask of it.
#[derive(Debug, Clone, Default)]
struct Demand {
    /// Kernels that would compute it, at most two: more make no difference.
    roots: Vec<NodeId>,
    /// The coordinate frame it is asked in; `mixed` if there are several.
    frame: Option<u64>,
    mixed: bool,
    /// Some kernel would compute each element more than once.
    repeated: bool,
    /// It must lie in memory, perhaps under views.
    strided: bool,
    /// .. and is read at computed indices.
    indexed: bool,
    /// It must lie in memory in its own order.
    dense: Option<&'static str>,
}

impl Demand {
    fn any(&self) -> bool {
        !self.roots.is_empty() || self.dense.is_some()
    }

    fn merge(&mut self, other: &Demand) {
        for &r in &other.roots {
            if self.roots.len() < 2 && !self.roots.contains(&r) {
                self.roots.push(r);
            }
        }
        self.mixed |=
            other.mixed || (self.frame.is_some() && other.frame.is_some() && self.frame != other.frame);
        self.frame = self.frame.or(other.frame);
        self.repeated |= other.repeated;
        self.strided |= other.strided;
        self.indexed |= other.indexed;
        self.dense = self.dense.or(other.dense);
    }
}

/// What a kernel holds so far.
#[derive(Debug, Clone, Default)]
struct Load {
    exprs: u32,
    /// Values that it reads or will compute, as far as they are known.
    reads: FxHashSet<NodeId>,
}

/// Decides for a decomposed graph.
///
/// # Errors
/// Bugs: an op that should be gone, a dim that is not bound.
pub fn choose(graph: &Graph) -> Result<Storage<'_>, Diagnostic> {
    let homes = Homes::new(graph);
    let bound = homes.home.len();
    let mut c = Chooser {
        graph,
        homes,
        demands: vec![Demand::default(); bound],
        kernels: vec![Load::default(); bound],
        roots: vec![],
        renamed: vec![],
        decisions: vec![],
    };
    for out in &graph.outputs {
        c.demand(out.value, Demand { dense: Some("it is an output"), ..Demand::default() });
    }
    for w in &graph.writes {
        c.demand(w.value, Demand { dense: Some("it is written to a state"), ..Demand::default() });
    }
    for id in graph.topo_order().into_iter().rev() {
        c.visit(id)?;
    }
    c.roots.reverse();
    c.name_renamed();
    Ok(Storage { homes: c.homes, roots: c.roots, decisions: c.decisions })
}

struct Chooser<'g> {
    graph: &'g Graph,
    homes: Homes<'g>,
    demands: Vec<Demand>,
    kernels: Vec<Load>,
    roots: Vec<ValueId>,
    /// Reshapes, which have a home where their operand has one; users before operands.
    renamed: Vec<NodeId>,
    decisions: Vec<Decision>,
}

impl Chooser<'_> {
    fn demand(&mut self, v: ValueId, d: Demand) {
        self.demands[v.node.0 as usize].merge(&d);
    }

    fn size(&self, v: ValueId) -> Result<u64, Diagnostic> {
        Ok(count(&extents(self.graph, v)?))
    }

    fn visit(&mut self, id: NodeId) -> Result<(), Diagnostic> {
        let d = std::mem::take(&mut self.demands[id.0 as usize]);
        let node = self.graph.node(id);
        if !d.any() {
            return Ok(());
        }
        match node.op.lowering().rule() {
            Rule::Stored => self.homes.set(id.value(), id.value()),
            Rule::Kernel(_) | Rule::Program => self.root(id, "it is a kernel of its own")?,
            Rule::View(view) => {
                if view.renames() {
                    self.renamed.push(id);
                }
                if view.renames() && (d.dense.is_some() || d.indexed) {
                    self.demand(node.operands[0], Demand { dense: d.dense.or(Some("it is indexed")), ..d });
                } else if let Some(why) = d.dense {
                    self.root(id, why)?;
                } else {
                    self.pass_on(id, node.operands[0], d)?;
                }
            }
            Rule::Element(_) if matches!(node.op, Op::Constant(_)) => {
                if d.dense.is_some() || d.strided {
                    self.homes.set(id.value(), id.value());
                }
            }
            Rule::Element(rule) => {
                let cost = rule.cost(node);
                match self.reason_to_store(id, &d, cost.weight)? {
                    Some(why) => self.root(id, why)?,
                    None => self.fold(id, d, cost.exprs)?,
                }
            }
            Rule::Gone => {
                return Err(Diagnostic::bug(format!("`{}` is left in a decomposed graph", node.op.name()))
                    .label(node.prov.span, ""));
            }
        }
        Ok(())
    }

    /// A view's operand: asked by the same kernels in other coordinates.
    fn pass_on(&mut self, view: NodeId, operand: ValueId, mut d: Demand) -> Result<(), Diagnostic> {
        let (from, to) = (self.size(operand)?, self.size(view.value())?);
        d.repeated |= to > from;
        if from <= 1 {
            (d.frame, d.mixed) = (None, false);
        } else {
            d.frame = Some(frame(view, 0));
        }
        self.demand(operand, d);
        Ok(())
    }

    fn reason_to_store(
        &self,
        id: NodeId,
        d: &Demand,
        weight: Weight,
    ) -> Result<Option<&'static str>, Diagnostic> {
        let one = self.size(id.value())? <= 1;
        Ok(if d.dense.is_some() {
            d.dense
        } else if d.strided {
            Some("a kernel reads it as memory")
        } else if weight == Weight::Free {
            None
        } else if d.roots.len() > 1 {
            Some("several kernels use it")
        } else if d.mixed {
            Some("one kernel uses it at several coordinates")
        } else if d.repeated && (!one || weight > Weight::Cheap) {
            Some("each element is used more than once")
        } else {
            let root = &self.kernels[d.roots[0].0 as usize];
            let node = self.graph.node(id);
            let mut reads = root.reads.clone();
            reads.remove(&id);
            self.leaves(&node.operands, &mut reads);
            let exprs = match node.op.lowering().rule() {
                Rule::Element(rule) => rule.cost(node).exprs,
                _ => 0,
            };
            (reads.len() > MAX_READS || root.exprs + exprs > MAX_EXPRS).then_some("the kernel is full")
        })
    }

    /// Computes a value in the kernels that use it.
    fn fold(&mut self, id: NodeId, d: Demand, exprs: u32) -> Result<(), Diagnostic> {
        let node = self.graph.node(id);
        for &root in &d.roots {
            let mut reads = std::mem::take(&mut self.kernels[root.0 as usize].reads);
            reads.remove(&id);
            self.leaves(&node.operands, &mut reads);
            let kernel = &mut self.kernels[root.0 as usize];
            kernel.reads = reads;
            kernel.exprs += exprs;
        }
        let own = self.size(id.value())?;
        for (i, &operand) in node.operands.iter().enumerate() {
            let mut ask = Demand { repeated: d.repeated || self.repeats(id, own, operand)?, ..d.clone() };
            self.ask(&mut ask, self.element_need(id, i));
            if self.size(operand)? <= 1 {
                (ask.frame, ask.mixed) = (None, false);
            } else if self.moves(id) {
                ask.frame = Some(frame(id, i));
            }
            self.demand(operand, ask);
        }
        Ok(())
    }

    /// Gives a value a kernel.
    fn root(&mut self, id: NodeId, why: &'static str) -> Result<(), Diagnostic> {
        self.homes.set(id.value(), id.value());
        self.roots.push(id.value());
        self.decide(id, "stored", why);
        let node = self.graph.node(id);
        let mut reads = FxHashSet::default();
        self.leaves(&node.operands, &mut reads);
        self.kernels[id.0 as usize] = Load { exprs: 2, reads };
        let rule = node.op.lowering().rule();
        let own = match rule {
            // A reduction's domain is its operand; a contraction's operands are read as memory anyway.
            Rule::Kernel(_) => self.size(*node.operands.last().unwrap_or(&id.value()))?,
            _ => self.size(id.value())?,
        };
        let affine = match &node.op {
            Op::Contract(c) => operand_maps_are_affine(c, &self.homes, id.value())?,
            _ => [true, true],
        };
        for (i, &operand) in node.operands.iter().enumerate() {
            let need = match rule {
                Rule::Kernel(k) => k.need(self.graph, node, i),
                Rule::Program => Need::Dense,
                _ => self.element_need(id, i),
            };
            let need = if affine.get(i) == Some(&false) { Need::Dense } else { need };
            if need == Need::Unused {
                continue;
            }
            let frame = if self.moves(id) { frame(id, i) } else { frame(id, usize::MAX) };
            let mut ask = Demand {
                roots: vec![id],
                frame: (self.size(operand)? > 1).then_some(frame),
                repeated: self.repeats(id, own, operand)?,
                ..Demand::default()
            };
            self.ask(&mut ask, need);
            ask.indexed &= !matches!(node.op, Op::Contract(_));
            self.demand(operand, ask);
        }
        Ok(())
    }

    fn element_need(&self, id: NodeId, i: usize) -> Need {
        match self.graph.node(id).op.lowering().rule() {
            Rule::Element(rule) => rule.need(i),
            _ => Need::Inline,
        }
    }

    fn ask(&self, d: &mut Demand, need: Need) {
        if need >= Need::Strided {
            d.strided = true;
            d.indexed = true;
        }
        if need == Need::Dense {
            d.dense = Some("a kernel reads it in its own order");
        }
    }

    /// Does the node read its operands at other coordinates than its own?
    fn moves(&self, id: NodeId) -> bool {
        !matches!(self.graph.node(id).op, Op::Elementwise(_) | Op::Cast(_))
    }

    /// Is an element of the operand used for more than one element of the node's domain?
    fn repeats(&self, id: NodeId, domain: u64, operand: ValueId) -> Result<bool, Diagnostic> {
        let node = self.graph.node(id);
        let joined = matches!(node.op, Op::Concat(_) | Op::Pad(_));
        Ok(!joined && domain > self.size(operand)? || joined && self.size(operand)? <= 1 && domain > 1)
    }

    /// The values below views that a kernel reads or computes for these operands.
    fn leaves(&self, operands: &[ValueId], into: &mut FxHashSet<NodeId>) {
        for &operand in operands {
            let v = base(self.graph, operand);
            let node = self.graph.node(v.node);
            match node.op.lowering().rule() {
                Rule::Element(rule) if rule.cost(node).weight == Weight::Free => {
                    self.leaves(&node.operands, into);
                }
                _ => {
                    into.insert(v.node);
                }
            }
        }
    }

    /// A reshape of what lies in memory lies there too.
    fn name_renamed(&mut self) {
        for &id in self.renamed.iter().rev() {
            if self.homes.of(id.value()).is_none()
                && let Some(home) = self.homes.of(self.graph.node(id).operands[0])
            {
                self.homes.set(id.value(), home);
            }
        }
    }

    fn decide(&mut self, id: NodeId, verdict: &'static str, reason: &'static str) {
        let node = self.graph.node(id);
        let spans: Vec<Span> = if node.prov.span.is_none() { vec![] } else { vec![node.prov.span] };
        let subject = format!("{} {}", node.op.name(), id);
        self.decisions.push(Decision { pass: "lower", subject, verdict, reason: reason.into(), spans });
    }
}

/// The coordinates in which a node asks for its operand `i`; `usize::MAX` for a kernel's own coordinates.
fn frame(id: NodeId, i: usize) -> u64 {
    u64::from(id.0) << 16 | (i as u64 & 0xffff)
}
