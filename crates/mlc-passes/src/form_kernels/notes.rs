//! Kernels for people: what each holds, reads and leaves in memory, and why neighbours are not one.
//!
//! What `mlc explain fusion` prints and what the snapshots of kernel lists hold.

use mlc_diag::Span;
use mlc_ir::graph::{NodeId, Phase};
use mlc_ir::lower::{Form, kernel_name};
use mlc_ir::op::Op;
use rustc_hash::{FxHashMap, FxHashSet};

use super::decide::Log;
use super::facts::{Facts, Role};
use super::units::Refusal;
use super::{Group, Part};

/// One kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelNote {
    /// `matrix product`, `rows`, `columns`, `map`, `segments` or the op's name.
    pub kind: String,
    pub holds: Vec<Held>,
    /// States, inputs and values of other kernels.
    pub reads: Vec<String>,
    pub writes: Vec<Written>,
}

/// An op in a kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub op: String,
    pub span: Span,
    pub phase: Phase,
    /// Another kernel computes it too.
    pub again: bool,
}

/// A value that a kernel leaves in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    pub value: String,
    pub bytes: u64,
    pub why: &'static str,
    pub span: Span,
}

/// Notes of all kernels.
pub fn notes(facts: &Facts<'_>, groups: &[Group]) -> Vec<KernelNote> {
    let homes = homes(groups);
    groups
        .iter()
        .enumerate()
        .map(|(i, g)| note(facts, g, |n| homes.get(&n).is_some_and(|&h| h != i)))
        .collect()
}

/// The group that leaves each value in memory.
fn homes(groups: &[Group]) -> FxHashMap<NodeId, usize> {
    let mut homes = FxHashMap::default();
    for (i, g) in groups.iter().enumerate() {
        homes.extend(g.parts.iter().flat_map(|p| &p.recipe.outs).map(|o| (o.value.node, i)));
    }
    homes
}

fn note(facts: &Facts<'_>, group: &Group, elsewhere: impl Fn(NodeId) -> bool) -> KernelNote {
    let mut note = KernelNote { kind: kind(facts, group), holds: vec![], reads: vec![], writes: vec![] };
    for part in &group.parts {
        let mut inside: Vec<NodeId> = part.inside.iter().copied().collect();
        inside.sort_unstable_by_key(|&n| facts.of(n).position);
        let last = |n: NodeId| facts.of(n).position;
        let own = part.recipe.outs.iter().map(|o| last(o.value.node)).max().unwrap_or(0);
        for n in inside {
            let node = facts.graph.node(n);
            let op = kernel_name(facts.graph, n.value());
            let again = elsewhere(n) && last(n) <= own;
            note.holds.push(Held { op, span: node.prov.span, phase: node.prov.phase, again });
        }
        note.reads.extend(part.reads.iter().map(|&n| name(facts, n)));
        note.writes.extend(part.recipe.outs.iter().map(|o| {
            let f = facts.of(o.value.node);
            let why = f.keep.unwrap_or("another kernel reads it");
            Written { value: name(facts, o.value.node), bytes: f.bytes, why, span: facts.graph.span(o.value) }
        }));
    }
    note.reads.sort_unstable();
    note.reads.dedup();
    note
}

fn kind(facts: &Facts<'_>, group: &Group) -> String {
    let [part] = &group.parts[..] else { return "segments".into() };
    match &part.recipe.form {
        Form::Contract(_) => "matrix product".into(),
        Form::Own(v) => facts.graph.node(v.node).op.name().into(),
        Form::Loop { .. } => loop_kind(facts, part).into(),
    }
}

fn loop_kind(facts: &Facts<'_>, part: &Part) -> &'static str {
    let has = |f: fn(&Role) -> bool| part.inside.iter().any(|&n| f(&facts.of(n).role));
    if has(|r| matches!(r, Role::RowReduce { .. })) {
        "rows"
    } else if has(|r| matches!(r, Role::ColReduce { .. })) {
        "columns"
    } else {
        "map"
    }
}

/// A state's path, an input's name, else the op and its node.
fn name(facts: &Facts<'_>, n: NodeId) -> String {
    match &facts.graph.node(n).op {
        Op::State(s) => s.path.to_string(),
        Op::Input(i) => i.name.to_string(),
        _ => super::decide::name(facts, n),
    }
}

/// Drops what was said of nodes that share a kernel in the end, and says of every value that passes from one
/// kernel to another why they are two.
pub fn settle(facts: &Facts<'_>, groups: &[Group], log: &mut Log) {
    let mut kernels: FxHashMap<NodeId, Vec<usize>> = FxHashMap::default();
    for (i, g) in groups.iter().enumerate() {
        for &n in g.parts.iter().flat_map(|p| &p.inside) {
            kernels.entry(n).or_default().push(i);
        }
    }
    let none = vec![];
    let together = |a: NodeId, b: NodeId| {
        let (x, y) = (kernels.get(&a).unwrap_or(&none), kernels.get(&b).unwrap_or(&none));
        x.iter().any(|k| y.contains(k))
    };
    log.keep(|verdict, a, b| (verdict == "fused") == together(a, b));
    let said: FxHashSet<(NodeId, NodeId)> = log.pairs().collect();
    for part in groups.iter().flat_map(|g| &g.parts) {
        let mut inside: Vec<NodeId> = part.inside.iter().copied().collect();
        inside.sort_unstable();
        let mut told = FxHashSet::default();
        for n in inside {
            for u in &facts.of(n).uses {
                let crosses = part.reads.contains(&u.node) && !facts.is_source(u.node);
                if crosses && !said.contains(&(n, u.node)) && told.insert(u.node) {
                    log.apart(facts, n, u.node, why(facts, n, u.node));
                }
            }
        }
    }
}

fn why(facts: &Facts<'_>, user: NodeId, read: NodeId) -> Refusal {
    match (facts.of(user).role, facts.of(read).role) {
        (Role::Contract, _) => Refusal::Operand,
        (_, Role::Joined) => Refusal::Joined,
        (Role::Own, _) | (_, Role::Own) => Refusal::Opaque,
        _ => Refusal::Stored,
    }
}
