//! Step E, epilogues: elementwise work that follows a contraction is done on its products before they are
//! stored.
//!
//! `r` is the value that the kernel would store: at first the product. The *cone* of r is the maps that read
//! it, or each other, element by element and whose other operands are there before. In it is looked for:
//! - **a cut**: a value that everything after r goes through. All up to it is absorbed, and it is the next r
//!   (bias, activation, residual; an optimizer's update, whose new moments are stored on the way);
//! - else **several ends**, at most four, each stored anyway: all is absorbed and r itself is never stored
//!   (the two gradients of a gated unit);
//! - else **one end that feeds a contraction**, r staying as a second result (`h` and `gelu(h)`).
//!
//! Maps that nothing else uses and that the absorbed ones read come along (`gelu'(h)`).

use mlc_ir::graph::{NodeId, Phase};
use mlc_ir::lower::Weight;
use rustc_hash::{FxHashMap, FxHashSet};

use super::decide::Log;
use super::facts::{Facts, Role};
use super::lifetime;
use super::relation::Relation;
use super::units::{Kind, Refusal, UnitId, Units};

/// Nodes of a cone that are looked at.
const MAX_CONE: usize = 64;
/// Limits of an epilogue.
const MAX_OUTS: usize = 4;
const MAX_READS: usize = 10;
const MAX_EXPRS: u32 = 160;

pub fn epilogues(units: &mut Units<'_, '_>, log: &mut Log) {
    let facts = units.facts;
    for &id in facts.order.iter().filter(|&&n| facts.of(n).role == Role::Contract) {
        let Some(unit) = units.of(id) else { continue };
        Epilogue { units, log, unit, contraction: id }.grow();
    }
}

struct Epilogue<'u, 'f, 'g> {
    units: &'u mut Units<'f, 'g>,
    log: &'u mut Log,
    unit: UnitId,
    contraction: NodeId,
}

impl<'f, 'g> Epilogue<'_, 'f, 'g> {
    fn facts(&self) -> &'f Facts<'g> {
        self.units.facts
    }

    fn grow(&mut self) {
        let mut r = self.contraction;
        loop {
            let cone = self.cone(r);
            if let Some(cut) = self.cut(r, &cone) {
                if !self.absorb(&cone[..=cut], r, "it follows the product element by element") {
                    return;
                }
                r = cone[cut];
                continue;
            }
            if let Some(ends) = self.ends(r, &cone) {
                self.absorb(&ends, r, "what follows the product ends in values that are stored anyway");
            } else if let Some(path) = self.to_contraction(r, &cone) {
                self.absorb(
                    &path,
                    r,
                    "the next matrix product reads it; the value before is stored beside it",
                );
            }
            return;
        }
    }

    /// The maps after r, in order.
    fn cone(&self, r: NodeId) -> Vec<NodeId> {
        let facts = self.facts();
        let mut cone: Vec<NodeId> = vec![];
        // Each with the order of elements that it shares: a permutation begins another.
        let mut inside = FxHashMap::from_iter([(r, r)]);
        let mut ready: std::collections::BTreeSet<(u32, NodeId)> = Default::default();
        let add = |ready: &mut std::collections::BTreeSet<(u32, NodeId)>, of: NodeId| {
            ready.extend(facts.of(of).users.iter().map(|&u| (facts.of(u).position, u)));
        };
        add(&mut ready, r);
        while let Some((_, u)) = ready.pop_first() {
            if cone.len() >= MAX_CONE {
                break;
            }
            if let Some(order) = self.follows(r, u, &inside) {
                inside.insert(u, order);
                cone.push(u);
                add(&mut ready, u);
            }
        }
        cone
    }

    /// If `u` is a map that reads r or its cone element by element, all else being there before: the node
    /// whose order of elements it has.
    fn follows(&self, r: NodeId, u: NodeId, inside: &FxHashMap<NodeId, NodeId>) -> Option<NodeId> {
        let facts = self.facts();
        let (f, node) = (facts.of(u), facts.graph.node(u));
        let free = self.units.of(u).is_some_and(|x| {
            let unit = self.units.unit(x);
            unit.kind == Kind::Loop
                && unit.members.len() == 1
                && unit.device == self.units.unit(self.unit).device
        });
        let forward = |n: NodeId| facts.graph.node(n).prov.phase == Phase::Forward;
        let later = forward(self.contraction) && node.prov.phase != Phase::Forward;
        if f.role != Role::Map || f.size != facts.of(r).size || !free || later {
            return None;
        }
        let mut own = f.uses.iter().filter_map(|x| Some((inside.get(&x.node)?, x.relation)));
        let order = match (own.next()?, own.next()) {
            ((&order, Relation::Same), None) => order,
            ((_, Relation::Permuted), None) => u,
            ((&order, Relation::Same), Some(second)) => {
                let agrees = |x: (&NodeId, Relation)| x == (&order, Relation::Same);
                (agrees(second) && own.all(agrees)).then_some(order)?
            }
            _ => return None,
        };
        let before =
            f.uses.iter().filter(|x| !inside.contains_key(&x.node)).all(|x| match self.units.of(x.node) {
                None => true,
                Some(other) => self.units.depends(other, self.unit) == Ok(false),
            });
        before.then_some(order)
    }

    /// The first position in the cone through which everything after r goes.
    fn cut(&self, r: NodeId, cone: &[NodeId]) -> Option<usize> {
        let facts = self.facts();
        let mut done: FxHashSet<NodeId> = FxHashSet::default();
        // Users that are still to come, of r and of what is before the last.
        let mut open: FxHashSet<NodeId> = facts.of(r).users.iter().copied().collect();
        for (i, &x) in cone.iter().enumerate() {
            open.remove(&x);
            done.insert(x);
            if open.is_empty() {
                return Some(i);
            }
            open.extend(facts.of(x).users.iter().copied().filter(|u| !done.contains(u)));
        }
        None
    }

    /// The whole cone, where it ends in few values that are stored anyway.
    fn ends(&self, r: NodeId, cone: &[NodeId]) -> Option<Vec<NodeId>> {
        let facts = self.facts();
        let inside: FxHashSet<NodeId> = cone.iter().copied().collect();
        let leaves = |n: NodeId| facts.of(n).users.iter().any(|u| !inside.contains(u));
        if cone.is_empty() || leaves(r) {
            return None;
        }
        let mut ends = cone.iter().copied().filter(|&n| leaves(n));
        let stored = ends.clone().count() <= MAX_OUTS && ends.all(|n| self.stored_anyway(n));
        stored.then(|| cone.to_vec())
    }

    /// What leads from r to the first value that a contraction reads, if nothing else comes of it.
    fn to_contraction(&self, r: NodeId, cone: &[NodeId]) -> Option<Vec<NodeId>> {
        let facts = self.facts();
        let feeds = |n: NodeId| facts.of(n).users.iter().any(|&u| facts.of(u).role == Role::Contract);
        let end = cone.iter().copied().find(|&n| feeds(n))?;
        let mut path = FxHashSet::from_iter([end]);
        for &n in cone.iter().rev() {
            if facts.of(n).users.iter().any(|u| path.contains(u))
                && facts.of(n).position < facts.of(end).position
            {
                path.insert(n);
            }
        }
        let closed =
            path.iter().filter(|&&n| n != end).all(|&n| facts.of(n).users.iter().all(|u| path.contains(u)));
        (closed && r != end).then(|| cone.iter().copied().filter(|n| path.contains(n)).collect())
    }

    fn stored_anyway(&self, n: NodeId) -> bool {
        let facts = self.facts();
        let as_memory = |u: NodeId| matches!(facts.of(u).role, Role::Contract | Role::Own);
        facts.of(n).keep.is_some() || facts.of(n).users.iter().any(|&u| as_memory(u))
    }

    /// Takes nodes into the contraction's unit, all or none.
    fn absorb(&mut self, nodes: &[NodeId], r: NodeId, reason: &str) -> bool {
        if let Err(why) = self.room(nodes) {
            self.log.apart(self.facts(), nodes[0], r, why);
            return false;
        }
        for &n in nodes {
            let Some(unit) = self.units.of(n) else { return false };
            // Only now: what comes before is in the unit already.
            let allowed = lifetime::allows(self.units, self.unit, unit)
                .and_then(|()| self.units.may_join(self.unit, unit));
            if let Err(why) = allowed {
                self.log.apart(self.facts(), n, r, why);
                return false;
            }
            self.units.merge(self.unit, unit);
            self.log.fused(self.facts(), n, self.contraction, reason);
        }
        self.pull(nodes);
        true
    }

    fn room(&self, nodes: &[NodeId]) -> Result<(), Refusal> {
        let facts = self.facts();
        let members = self.units.unit(self.unit).members.iter().chain(nodes);
        let exprs: u32 = members.clone().map(|&n| facts.of(n).exprs).sum();
        let inside: FxHashSet<NodeId> = members.clone().copied().collect();
        let mut reads: Vec<NodeId> =
            members.clone().flat_map(|&n| &facts.of(n).uses).map(|u| u.node).collect();
        reads.retain(|n| !inside.contains(n));
        reads.sort_unstable();
        reads.dedup();
        let outs = members.filter(|&&n| facts.of(n).keep.is_some()).count();
        let full = exprs > MAX_EXPRS || reads.len() > MAX_READS || outs > MAX_OUTS;
        if full { Err(Refusal::Full) } else { Ok(()) }
    }

    /// Takes along maps that only these nodes read, each element once.
    fn pull(&mut self, nodes: &[NodeId]) {
        let mut work: Vec<NodeId> = nodes.to_vec();
        while let Some(n) = work.pop() {
            for u in self.facts().of(n).uses.clone() {
                let Some(unit) = self.units.of(u.node).filter(|&x| x != self.unit) else { continue };
                if self.side(u.node, u.relation, unit)
                    && self.room(&[u.node]).is_ok()
                    && self.units.may_join(self.unit, unit).is_ok()
                {
                    self.units.merge(self.unit, unit);
                    self.log.fused(
                        self.facts(),
                        u.node,
                        n,
                        "only this kernel uses it, once for each element",
                    );
                    work.push(u.node);
                }
            }
        }
    }

    fn side(&self, n: NodeId, relation: Relation, unit: UnitId) -> bool {
        let f = self.facts().of(n);
        let once = matches!(relation, Relation::Same | Relation::Permuted);
        let cheap = f.size == 1 && f.weight < Weight::Heavy;
        let alone = self.units.unit(unit).kind == Kind::Loop && self.units.unit(unit).members.len() == 1;
        f.role == Role::Map
            && f.keep.is_none()
            && alone
            && (once || cheap)
            && self.units.depends(unit, self.unit) == Ok(false)
            && f.users.iter().all(|&u| self.units.of(u) == Some(self.unit))
    }
}
