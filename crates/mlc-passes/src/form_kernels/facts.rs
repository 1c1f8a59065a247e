//! What fusion knows of each node before it decides anything.
//!
//! Input: a decomposed graph. Views, constants, positions and random bits are never stored (unless somebody
//! needs them in memory): they are computed where they are used, and the nodes below them count as operands.
//! Every other live node is a [`Role`] with its operands and users across all that.

use mlc_diag::Diagnostic;
use mlc_ir::graph::{Graph, NodeId, ValueId};
use mlc_ir::lower::{Need, Rule, Sides, Weight, base, count, extents, operand_maps_are_affine, sides};
use mlc_ir::op::Op;
use smallvec::SmallVec;

use super::relation::{self, Relation};

/// What a node is to fusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// In memory when the entry starts, or without elements.
    Source,
    /// Computed where it is used: views, constants, positions, random bits.
    Inline,
    /// Each element from elements of operands.
    Map,
    /// A result for each of `rows`, over `cols` elements.
    RowReduce {
        rows: u64,
        cols: u64,
    },
    /// A result for each of `cols`, over `rows` elements.
    ColReduce {
        rows: u64,
        cols: u64,
    },
    Contract,
    /// A kernel of its own.
    Own,
    /// A concat whose parts are written side by side: memory, but no kernel.
    Joined,
}

/// An operand of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    pub operand: usize,
    pub node: NodeId,
    pub relation: Relation,
}

#[derive(Debug, Clone)]
pub struct Fact {
    pub role: Role,
    /// Elements of the result.
    pub size: u64,
    pub bytes: u64,
    /// Why it lies in memory whatever is fused.
    pub keep: Option<&'static str>,
    pub weight: Weight,
    pub exprs: u32,
    pub uses: SmallVec<[Use; 3]>,
    /// Nodes that use it, each once, ascending by position.
    pub users: SmallVec<[NodeId; 3]>,
    /// In the canonical order.
    pub position: u32,
}

pub struct Facts<'g> {
    pub graph: &'g Graph,
    /// Live nodes that are neither inline nor sources, in canonical order.
    pub order: Vec<NodeId>,
    by_node: Vec<Option<Fact>>,
}

/// Which nodes are computed where they are used.
pub struct Inline(Vec<bool>);

impl Inline {
    pub fn passes(&self, id: NodeId) -> bool {
        self.0[id.0 as usize]
    }
}

/// What is asked of a node's value.
#[derive(Debug, Clone, Copy, Default)]
struct Demand {
    live: bool,
    dense: Option<&'static str>,
}

impl<'g> Facts<'g> {
    /// # Errors
    /// Bugs: an op that should be gone, a dim that is not bound.
    pub fn new(graph: &'g Graph) -> Result<Facts<'g>, Diagnostic> {
        let topo = graph.topo_order();
        let bound = topo.iter().map(|n| n.0 as usize + 1).max().unwrap_or(0);
        let demands = demands(graph, &topo, bound)?;
        let mut inline = Inline(vec![false; bound]);
        let mut facts = Facts { graph, order: vec![], by_node: vec![None; bound] };
        for &id in &topo {
            let d = demands[id.0 as usize];
            if !d.live {
                continue;
            }
            let fact = fact(graph, id, d, facts.order.len() as u32)?;
            // What costs nothing is made where it is used even if it is stored for somebody.
            inline.0[id.0 as usize] = fact.role == Role::Inline || fact.weight == Weight::Free;
            if !matches!(fact.role, Role::Inline | Role::Source) {
                facts.order.push(id);
            }
            facts.by_node[id.0 as usize] = Some(fact);
        }
        for at in 0..facts.order.len() {
            facts.link(facts.order[at], &inline)?;
        }
        Ok(facts)
    }

    /// Finds a node's operands and makes it their user.
    fn link(&mut self, id: NodeId, inline: &Inline) -> Result<(), Diagnostic> {
        let node = self.graph.node(id);
        let mut uses: SmallVec<[Use; 3]> = SmallVec::new();
        for i in 0..node.operands.len() {
            match need(self.graph, id, i) {
                Need::Unused => continue,
                // Read as memory even if it costs nothing to make.
                Need::Dense => {
                    let node = renamed(self.graph, node.operands[i]).node;
                    uses.push(Use { operand: i, node, relation: Relation::Other });
                    continue;
                }
                Need::Inline => {}
            }
            for (below, relation) in relation::reads(self.graph, inline, id, i)? {
                uses.push(Use { operand: i, node: below, relation });
            }
        }
        for u in &uses {
            if let Some(f) = &mut self.by_node[u.node.0 as usize]
                && f.users.last() != Some(&id)
            {
                f.users.push(id);
            }
        }
        if let Some(f) = &mut self.by_node[id.0 as usize] {
            f.uses = uses;
        }
        Ok(())
    }

    /// # Panics
    /// For a node that is not live.
    pub fn of(&self, id: NodeId) -> &Fact {
        match &self.by_node[id.0 as usize] {
            Some(f) => f,
            None => panic!("{id} is dead"),
        }
    }

    pub fn get(&self, id: NodeId) -> Option<&Fact> {
        self.by_node.get(id.0 as usize)?.as_ref()
    }

    pub fn bound(&self) -> usize {
        self.by_node.len()
    }

    /// Is the value in memory without any kernel?
    pub fn is_source(&self, id: NodeId) -> bool {
        self.of(id).role == Role::Source
    }
}

fn need(graph: &Graph, id: NodeId, i: usize) -> Need {
    let node = graph.node(id);
    match node.op.lowering().rule() {
        Rule::Kernel(k) => k.need(graph, node, i),
        _ => Need::Inline,
    }
}

/// Walks against the order: what is live, and what must lie in memory in its own order.
fn demands(graph: &Graph, topo: &[NodeId], bound: usize) -> Result<Vec<Demand>, Diagnostic> {
    let mut demands = vec![Demand::default(); bound];
    let ask = |demands: &mut Vec<Demand>, v: ValueId, dense: Option<&'static str>| {
        let d = &mut demands[v.node.0 as usize];
        d.live = true;
        d.dense = d.dense.or(dense);
    };
    for out in &graph.outputs {
        ask(&mut demands, out.value, Some("it is an output"));
    }
    for w in &graph.writes {
        ask(&mut demands, w.value, Some("it is written to a state"));
    }
    for &id in topo.iter().rev() {
        let d = demands[id.0 as usize];
        if !d.live {
            continue;
        }
        let node = graph.node(id);
        match node.op.lowering().rule() {
            Rule::View(view) if view.renames() && d.dense.is_some() => {
                ask(&mut demands, node.operands[0], d.dense);
            }
            Rule::Contract(c) => {
                let affine = operand_maps_are_affine(c, graph, id.value())?;
                for (&operand, affine) in node.operands.iter().zip(affine) {
                    let why = "a contraction cannot read it where it lies";
                    ask(&mut demands, operand, (!affine).then_some(why));
                }
            }
            _ if joins(graph, id)? => {
                for &operand in &node.operands {
                    ask(&mut demands, operand, Some("it is written into a part of a concat"));
                }
            }
            _ => {
                for (i, &operand) in node.operands.iter().enumerate() {
                    let need = need(graph, id, i);
                    let why = "a kernel reads it in its own order";
                    if need != Need::Unused {
                        ask(&mut demands, operand, (need == Need::Dense).then_some(why));
                    }
                }
            }
        }
    }
    Ok(demands)
}

/// Is the node a concat of results of contractions, each of which can be written where it belongs? The parts
/// lie one after another, so that no axis before has several elements.
fn joins(graph: &Graph, id: NodeId) -> Result<bool, Diagnostic> {
    let node = graph.node(id);
    let Op::Concat(c) = &node.op else { return Ok(false) };
    let shape = extents(graph, id.value())?;
    if shape[..c.axis].iter().any(|&d| d != 1) || shape.contains(&0) {
        return Ok(false);
    }
    let mut parts: Vec<NodeId> = node.operands.iter().map(|&v| renamed(graph, v).node).collect();
    let all = parts.iter().all(|&p| of_product(graph, p) && concats(graph, p) == 1);
    parts.sort_unstable();
    parts.dedup();
    Ok(all && parts.len() == node.operands.len())
}

/// The value whose memory a reshape is.
pub fn renamed(graph: &Graph, mut v: ValueId) -> ValueId {
    while let Rule::View(view) = graph.node(v.node).op.lowering().rule()
        && view.renames()
    {
        v = graph.node(v.node).operands[0];
    }
    v
}

/// Does the node follow element by element from a contraction, through few nodes?
fn of_product(graph: &Graph, mut id: NodeId) -> bool {
    for _ in 0..8 {
        let node = graph.node(id);
        let next = match node.op.lowering().rule() {
            Rule::Contract(_) => return true,
            Rule::View(_) => node.operands.first().copied(),
            Rule::Element(_) if matches!(node.op, Op::Elementwise(_) | Op::Cast(_)) => {
                let constant =
                    |v: &&ValueId| !matches!(graph.node(base(graph, **v).node).op, Op::Constant(_));
                let mut variable = node.operands.iter().filter(constant);
                let first = variable.next().copied();
                first.filter(|_| variable.next().is_none())
            }
            _ => None,
        };
        match next {
            Some(v) => id = v.node,
            None => return false,
        }
    }
    false
}

/// Concats that a value is a part of.
fn concats(graph: &Graph, id: NodeId) -> usize {
    let mut n = 0;
    let mut work = vec![id];
    while let Some(at) = work.pop() {
        for user in graph.users(at) {
            let node = graph.node(user);
            match node.op.lowering().rule() {
                Rule::View(view) if view.renames() => work.push(user),
                _ if matches!(node.op, Op::Concat(_)) => {
                    n += node.operands.iter().filter(|o| o.node == at).count();
                }
                _ => {}
            }
        }
    }
    n
}

fn fact(graph: &Graph, id: NodeId, d: Demand, position: u32) -> Result<Fact, Diagnostic> {
    let node = graph.node(id);
    let (mut keep, mut weight, mut exprs) = (d.dense, Weight::Cheap, 2);
    let role = match node.op.lowering().rule() {
        Rule::Stored => Role::Source,
        Rule::View(view) if view.renames() || d.dense.is_none() => {
            keep = None;
            Role::Inline
        }
        Rule::View(_) => Role::Map,
        Rule::Element(_) if joins(graph, id)? => {
            keep = keep.or(Some("its parts are written side by side"));
            Role::Joined
        }
        Rule::Element(rule) => {
            let cost = rule.cost(node);
            (weight, exprs) = (cost.weight, cost.exprs);
            match cost.weight {
                Weight::Free if d.dense.is_none() => Role::Inline,
                _ => Role::Map,
            }
        }
        Rule::Reduce(r) => {
            let shape = extents(graph, node.operands[0])?;
            match sides(r, shape.len()) {
                Some(Sides::Trailing(n)) => {
                    let (rows, cols) = shape.split_at(shape.len() - n);
                    Role::RowReduce { rows: count(rows), cols: count(cols) }
                }
                Some(Sides::Leading(n)) => {
                    let (rows, cols) = shape.split_at(n);
                    Role::ColReduce { rows: count(rows), cols: count(cols) }
                }
                None => {
                    let title = format!("{id}: a reduction over axes {:?} was not decomposed", r.axes);
                    return Err(Diagnostic::bug(title));
                }
            }
        }
        Rule::Contract(_) => Role::Contract,
        Rule::Kernel(_) => {
            keep = keep.or(Some("it is a kernel of its own"));
            Role::Own
        }
        Rule::Gone => {
            return Err(Diagnostic::bug(format!("`{}` is left in a decomposed graph", node.op.name()))
                .label(node.prov.span, ""));
        }
    };
    let size = count(&extents(graph, id.value())?);
    // What has no elements needs no kernel.
    let role = if size == 0 && role != Role::Inline { Role::Source } else { role };
    let bytes = size.saturating_mul(graph.ty(id.value()).dtype.size() as u64);
    let (uses, users) = (SmallVec::new(), SmallVec::new());
    Ok(Fact { role, size, bytes, keep, weight, exprs, uses, users, position })
}
