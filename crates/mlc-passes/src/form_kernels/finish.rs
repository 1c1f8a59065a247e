//! From units to groups: what each kernel leaves in memory, in which form it runs, and what reads what.

use mlc_diag::Diagnostic;
use mlc_ir::graph::NodeId;
use mlc_ir::lower::{Form, Inside, Out, Place, Recipe, Rule, Sides, count, extents, kernel_name, sides};
use mlc_ir::op::Op;
use rustc_hash::FxHashSet;

use super::facts::{Facts, Role, renamed};
use super::recompute::Again;
use super::relation::{Relation, domain};
use super::units::{Kind, Level, UnitId, Units};
use super::{Group, Joined, KernelGraph, Part};

/// Groups in topological order, without decisions.
///
/// # Errors
/// Bugs: a value that no place can be given.
pub fn finish<'g>(units: &Units<'_, 'g>, again: &Again) -> Result<KernelGraph<'g>, Diagnostic> {
    let facts = units.facts;
    let mut stored = vec![false; facts.bound()];
    let (mut groups, mut joined) = (vec![], vec![]);
    for unit in order(units).into_iter().rev() {
        if let [n] = units.unit(unit).members[..]
            && facts.of(n).role == Role::Joined
        {
            joined.push(join(facts, n)?);
            continue;
        }
        let mut outs: Vec<NodeId> = units.unit(unit).members.clone();
        outs.retain(|&m| facts.of(m).keep.is_some() || stored[m.0 as usize]);
        if outs.is_empty() {
            continue;
        }
        let (inside, reads) = closure(units, unit, again, &outs);
        for &n in &outs {
            stored[n.0 as usize] = true;
        }
        for &n in &reads {
            stored[n.0 as usize] = true;
        }
        let recipe = recipe(units, unit, &outs)?;
        groups.push(Group { parts: vec![Part { recipe, inside, reads }] });
    }
    groups.reverse();
    Ok(KernelGraph::new(facts, groups, joined))
}

/// Where the parts of a concat lie in its memory.
fn join(facts: &Facts<'_>, n: NodeId) -> Result<Joined, Diagnostic> {
    let mut parts = vec![];
    let mut offset = 0;
    for &v in &facts.graph.node(n).operands {
        parts.push((renamed(facts.graph, v), offset));
        offset += count(&extents(facts.graph, v)?);
    }
    Ok(Joined { whole: n.value(), parts })
}

/// Units in topological order, among ready ones the one with the first node.
fn order(units: &Units<'_, '_>) -> Vec<UnitId> {
    use std::cmp::Reverse;
    let first = |u: UnitId| units.unit(u).members.first().map_or(0, |&m| units.facts.of(m).position);
    let mut waiting: rustc_hash::FxHashMap<UnitId, usize> = Default::default();
    let mut ready = std::collections::BinaryHeap::new();
    for u in units.ids() {
        let n = units.before(u).len();
        waiting.insert(u, n);
        if n == 0 {
            ready.push(Reverse((first(u), u)));
        }
    }
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(Reverse((_, u))) = ready.pop() {
        order.push(u);
        for after in units.after(u) {
            if let Some(n) = waiting.get_mut(&after) {
                *n -= 1;
                if *n == 0 {
                    ready.push(Reverse((first(after), after)));
                }
            }
        }
    }
    order
}

/// What a unit computes for these results, and what it reads.
fn closure(units: &Units<'_, '_>, unit: UnitId, again: &Again, outs: &[NodeId]) -> (Inside, Vec<NodeId>) {
    let repeated: FxHashSet<NodeId> = again.of(unit).collect();
    let mut inside: Inside = outs.iter().copied().collect();
    let mut reads = vec![];
    let mut work = outs.to_vec();
    while let Some(n) = work.pop() {
        for u in units.facts.of(n).uses.iter().map(|u| u.node) {
            if units.of(u) == Some(unit) || repeated.contains(&u) {
                if inside.insert(u) {
                    work.push(u);
                }
            } else if !reads.contains(&u) {
                reads.push(u);
            }
        }
    }
    reads.sort_unstable();
    (inside, reads)
}

fn recipe(units: &Units<'_, '_>, unit: UnitId, outs: &[NodeId]) -> Result<Recipe, Diagnostic> {
    let facts = units.facts;
    let u = units.unit(unit);
    let form = match u.kind {
        Kind::Contract => {
            let found = u.members.iter().find(|&&m| facts.of(m).role == Role::Contract);
            Form::Contract(found.map_or(outs[0], |&m| m).value())
        }
        Kind::Own => Form::Own(outs[0].value()),
        Kind::Loop => {
            let (rows, cols) = axes(units, unit, outs)?;
            Form::Loop { rows, cols }
        }
    };
    let mut placed = vec![];
    for &n in outs {
        placed.push(Out { value: n.value(), place: place(units, unit, n)? });
    }
    Ok(Recipe { name: name(facts, u.kind, &u.members, outs), form, outs: placed })
}

/// The extents of rows and columns, as some member has them.
fn axes(units: &Units<'_, '_>, unit: UnitId, outs: &[NodeId]) -> Result<(Vec<u64>, Vec<u64>), Diagnostic> {
    let (facts, u) = (units.facts, units.unit(unit));
    for &m in &u.members {
        let whole = match facts.of(m).role {
            Role::RowReduce { rows, cols } | Role::ColReduce { rows, cols } => {
                rows.saturating_mul(cols) == u.points && Some(rows) == u.rows
            }
            _ => false,
        };
        if let (true, Op::Reduce(r)) = (whole, &facts.graph.node(m).op) {
            let shape = domain(facts.graph, m)?;
            let at = match sides(r, shape.len()) {
                Some(Sides::Leading(n)) => n,
                Some(Sides::Trailing(n)) => shape.len() - n,
                None => 0,
            };
            return Ok((shape[..at].to_vec(), shape[at..].to_vec()));
        }
    }
    Ok((vec![], extents(facts.graph, outs[outs.len() - 1].value())?))
}

fn place(units: &Units<'_, '_>, unit: UnitId, n: NodeId) -> Result<Place, Diagnostic> {
    let u = units.unit(unit);
    Ok(match (u.kind, units.level(n)) {
        (Kind::Own, _) => Place::Element,
        (Kind::Contract, _) => match steps(units, n) {
            Some(steps) if steps.is_empty() => Place::Element,
            Some(steps) => Place::Steps(steps),
            None => return Err(Diagnostic::bug(format!("{n} has no place in an epilogue"))),
        },
        (Kind::Loop, Level::Element) => Place::Element,
        (Kind::Loop, Level::Row) => Place::Row,
        (Kind::Loop, Level::Tail) => match units.facts.of(n).role {
            Role::ColReduce { cols: 1, .. } if Some(u.points) != u.rows => Place::Scalar,
            _ => Place::Column,
        },
    })
}

/// How a member of a contraction's unit follows from the product, element by element; `None` if it does not.
pub fn steps(units: &Units<'_, '_>, n: NodeId) -> Option<Vec<(NodeId, usize)>> {
    let facts = units.facts;
    let mut steps = vec![];
    let mut at = n;
    while facts.of(at).role != Role::Contract {
        let by = facts.of(at).uses.iter().find(|u| {
            matches!(u.relation, Relation::Same | Relation::Permuted)
                && units.of(u.node) == units.of(n)
                && facts.of(u.node).size == facts.of(n).size
                && from_product(units, u.node)
        })?;
        steps.push((at, by.operand));
        at = by.node;
    }
    steps.reverse();
    Some(steps)
}

/// Does the member depend on the product at all? Pulled-in maps do not.
fn from_product(units: &Units<'_, '_>, n: NodeId) -> bool {
    let unit = units.of(n);
    let mut work = vec![n];
    let mut seen = FxHashSet::default();
    while let Some(n) = work.pop() {
        if units.facts.of(n).role == Role::Contract {
            return true;
        }
        let inside = units.facts.of(n).uses.iter().map(|u| u.node).filter(|&u| units.of(u) == unit);
        work.extend(inside.filter(|&u| seen.insert(u)));
    }
    false
}

fn name(facts: &Facts<'_>, kind: Kind, members: &[NodeId], outs: &[NodeId]) -> String {
    match kind {
        Kind::Contract => "contract".into(),
        _ => {
            let reduction = members
                .iter()
                .rev()
                .find(|&&m| matches!(facts.graph.node(m).op.lowering().rule(), Rule::Reduce(_)));
            let of = reduction.copied().unwrap_or(outs[outs.len() - 1]);
            kernel_name(facts.graph, of.value())
        }
    }
}
