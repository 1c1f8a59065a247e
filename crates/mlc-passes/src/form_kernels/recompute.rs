//! Step X: maps that are computed again where they are used instead of being stored.
//!
//! Nodes are visited against their order, so that all kernels that would read a value are known.
//! - A kernel of maps with one result that one kernel reads, each element once, is *folded* into its reader
//!   (elementwise work before a transpose, a cast in front of a contraction).
//! - A value that is cheap to make of values that lie in memory anyway is *recomputed* in each reader: the
//!   normalised input in the backward part of a layer norm, masks, casts.
//!
//! [`Again`] says for each unit which nodes of other units it computes too.

use mlc_ir::graph::NodeId;
use mlc_ir::lower::Weight;
use mlc_ir::op::Op;
use rustc_hash::{FxHashMap, FxHashSet};

use super::decide::Log;
use super::facts::Role;
use super::relation::Relation;
use super::units::{Kind, UnitId, Units};

/// Values beyond this many bytes are taken to lie in main memory, where reading costs more than computing.
const NEAR_BYTES: u64 = 1 << 20;
/// Nodes that are recomputed for one value.
const MAX_CONE: usize = 24;
/// Expressions of a kernel, its own and recomputed ones.
const MAX_EXPRS: u32 = 256;
/// The same for a kernel of single numbers, which runs once and in no loop: the sum of all gradients' norms.
const MAX_EXPRS_OF_ONE: u32 = 1 << 14;
/// Kernels that recompute one value.
const MAX_READERS: usize = 4;

/// For each unit: nodes of other units that it computes again.
#[derive(Debug, Default)]
pub struct Again(FxHashMap<UnitId, FxHashSet<NodeId>>);

impl Again {
    pub fn of(&self, unit: UnitId) -> impl Iterator<Item = NodeId> + '_ {
        self.0.get(&unit).into_iter().flatten().copied()
    }

    fn has(&self, unit: UnitId, n: NodeId) -> bool {
        self.0.get(&unit).is_some_and(|s| s.contains(&n))
    }
}

pub fn recompute(units: &Units<'_, '_>, log: &mut Log) -> Again {
    let mut x = Recompute { units, log, again: Again::default(), made_in: vec![vec![]; units.facts.bound()] };
    for &id in units.facts.order.iter().rev() {
        x.visit(id);
    }
    x.again
}

/// A kernel that needs a value of another, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reader {
    unit: UnitId,
    /// The node that reads, and where.
    user: NodeId,
    relation: Relation,
}

struct Recompute<'u, 'f, 'g> {
    units: &'u Units<'f, 'g>,
    log: &'u mut Log,
    again: Again,
    /// By node: the units that compute it.
    made_in: Vec<Vec<UnitId>>,
}

impl Recompute<'_, '_, '_> {
    fn visit(&mut self, id: NodeId) {
        let facts = self.units.facts;
        let (Some(home), f) = (self.units.of(id), facts.of(id)) else { return };
        let mut readers = vec![];
        let mut made_in: Vec<UnitId> = vec![];
        for &user in &f.users {
            for u in facts.of(user).uses.iter().filter(|u| u.node == id) {
                for &unit in &self.made_in[user.0 as usize] {
                    readers.push(Reader { unit, user, relation: u.relation });
                }
            }
        }
        let inside = readers.iter().any(|r| r.unit == home);
        readers.retain(|r| r.unit != home);
        let open: Vec<Reader> = readers.iter().copied().filter(|r| !self.again.has(r.unit, id)).collect();
        let stored = !open.is_empty()
            && (f.role != Role::Map
                || f.keep.is_some()
                || !(self.fold(id, home, &open) || self.repeat(id, &open)));
        if stored && f.role == Role::Map && f.keep.is_none() {
            let n = units_of(&open).len();
            let by =
                if n == 1 { "another kernel reads it".into() } else { format!("{n} other kernels read it") };
            self.log.about(facts, id, "stored", by);
        }
        if stored || inside || f.keep.is_some() {
            made_in.push(home);
        }
        made_in.extend(units_of(&readers).into_iter().filter(|&u| self.again.has(u, id)));
        self.made_in[id.0 as usize] = made_in;
    }

    /// A unit of maps that one reader alone needs, each element once, becomes a part of it.
    fn fold(&mut self, id: NodeId, own: UnitId, readers: &[Reader]) -> bool {
        let facts = self.units.facts;
        let [reader] = readers else { return false };
        if self.made_in[reader.user.0 as usize].len() != 1 {
            return false;
        }
        let unit = self.units.unit(own);
        let members = &unit.members;
        let maps = unit.kind == Kind::Loop
            && members.iter().all(|&m| facts.of(m).role == Role::Map && facts.of(m).keep.is_none());
        let one_result = members
            .iter()
            .all(|&m| m == id || facts.of(m).users.iter().all(|&u| self.units.of(u) == Some(own)));
        if !maps || !one_result || !self.once(id, reader) || !self.takes(reader, members) {
            return false;
        }
        self.compute_in(reader.unit, members);
        self.log.fused(facts, id, reader.user, "only this kernel reads it, each element once");
        true
    }

    /// Does the reader use each element at most once, or is that no loss?
    fn once(&self, id: NodeId, reader: &Reader) -> bool {
        let facts = self.units.facts;
        let (f, user) = (facts.of(id), facts.of(reader.user));
        let points = match user.role {
            Role::RowReduce { rows, cols } | Role::ColReduce { rows, cols } => rows.saturating_mul(cols),
            Role::Contract => return f.weight < Weight::Heavy && f.size > 1,
            _ => user.size,
        };
        let joined = matches!(facts.graph.node(reader.user).op, Op::Concat(_) | Op::Pad(_));
        points <= f.size || (joined && f.size > 1) || (f.size == 1 && f.weight < Weight::Heavy)
    }

    /// Has the reader's kernel room for these, and a way to compute them?
    fn takes(&self, reader: &Reader, nodes: &[NodeId]) -> bool {
        let facts = self.units.facts;
        let unit = self.units.unit(reader.unit);
        // Data picks the element: paddings would not see what is out of bounds.
        let picked = matches!(reader.relation, Relation::Other | Relation::Pick)
            && matches!(facts.graph.node(reader.user).op, Op::Gather(_));
        let room = |n: &NodeId| facts.of(*n).exprs;
        let held =
            unit.members.iter().copied().chain(self.again.of(reader.unit)).map(|n| room(&n)).sum::<u32>();
        let same_device =
            |n: &NodeId| self.units.of(*n).is_some_and(|u| self.units.unit(u).device == unit.device);
        let most = if unit.points == 1 { MAX_EXPRS_OF_ONE } else { MAX_EXPRS };
        !picked && held + nodes.iter().map(room).sum::<u32>() <= most && nodes.iter().all(same_device)
    }

    /// A value that is cheap to make from memory is made in every reader.
    fn repeat(&mut self, id: NodeId, readers: &[Reader]) -> bool {
        let facts = self.units.facts;
        let units = units_of(readers);
        let Some(cone) = self.cone(id) else { return false };
        let takes = |r: &Reader| facts.of(r.user).role != Role::Contract && self.takes(r, &cone);
        let repeats = |r: &Reader| facts.of(r.user).size > facts.of(id).size && facts.of(id).size > 1;
        let heavy = cone.iter().any(|&n| facts.of(n).weight == Weight::Heavy);
        if units.len() > MAX_READERS || !readers.iter().all(takes) || (heavy && readers.iter().any(repeats)) {
            return false;
        }
        for unit in units {
            self.compute_in(unit, &cone);
        }
        self.log.about(facts, id, "recomputed", "it is cheap to make from what is in memory anyway");
        true
    }

    /// The maps that make a value from what lies in memory anyway; `None` if that is not worth it.
    fn cone(&self, id: NodeId) -> Option<Vec<NodeId>> {
        self.cone_of(id, Self::lies_there)
    }

    fn cone_of(&self, id: NodeId, lies_there: fn(&Self, NodeId, u64) -> bool) -> Option<Vec<NodeId>> {
        let facts = self.units.facts;
        let value = facts.of(id);
        let (mut cone, mut leaves) = (vec![id], 0u64);
        let mut seen = FxHashSet::from_iter([id]);
        let mut at = 0;
        while let Some(&n) = cone.get(at) {
            at += 1;
            let gathers = matches!(facts.graph.node(n).op, Op::Gather(_));
            for u in &facts.of(n).uses {
                let picked = gathers && u.operand == 0;
                let u = u.node;
                if !seen.insert(u) {
                    continue;
                }
                if lies_there(self, u, value.bytes) {
                    leaves += facts.of(u).bytes;
                } else if facts.of(u).role == Role::Map && cone.len() < MAX_CONE && !picked {
                    cone.push(u);
                } else {
                    return None;
                }
            }
        }
        let heavy = cone.iter().filter(|&&n| facts.of(n).weight == Weight::Heavy).count();
        let exprs: u32 = cone.iter().map(|&n| facts.of(n).exprs).sum();
        let cheap =
            if value.bytes <= NEAR_BYTES { heavy == 0 && exprs <= 24 } else { heavy <= 2 && exprs <= 64 };
        (cheap && leaves <= value.bytes + value.bytes / 4 + 64).then_some(cone)
    }

    /// Will the value be in memory, or is it small beside what is to be made of it?
    fn lies_there(&self, n: NodeId, bytes: u64) -> bool {
        self.surely_there(n, bytes) || self.epilogue_reads(n) && self.cone_of(n, Self::surely_there).is_none()
    }

    /// Does an epilogue of another kernel read the value? It makes it again only if that is cheap.
    fn epilogue_reads(&self, n: NodeId) -> bool {
        let other = |&u: &NodeId| {
            let unit = self.units.of(u).filter(|&x| self.units.of(n) != Some(x));
            unit.is_some_and(|x| self.units.unit(x).kind == Kind::Contract) && self.derived(u)
        };
        self.units.facts.of(n).users.iter().any(other)
    }

    /// As [`Self::lies_there`], as far as no other decision of this step is asked for.
    fn surely_there(&self, n: NodeId, bytes: u64) -> bool {
        let facts = self.units.facts;
        let f = facts.of(n);
        let Some(unit) = self.units.of(n) else { return true };
        let as_memory = |&u: &NodeId| matches!(facts.of(u).role, Role::Contract | Role::Own);
        if f.keep.is_some() || f.role == Role::Own {
            return true;
        }
        match self.units.unit(unit).kind {
            Kind::Contract => self.derived(n) && f.users.iter().any(|&u| self.units.of(u) != Some(unit)),
            _ => f.users.iter().any(as_memory) || f.bytes <= bytes / 8,
        }
    }

    /// Is the member of a contraction's unit made from the product, element by element?
    fn derived(&self, n: NodeId) -> bool {
        super::finish::steps(self.units, n).is_some()
    }

    fn compute_in(&mut self, unit: UnitId, nodes: &[NodeId]) {
        let own = nodes.iter().copied().filter(|&n| self.units.of(n) != Some(unit));
        self.again.0.entry(unit).or_default().extend(own);
    }
}

fn units_of(readers: &[Reader]) -> Vec<UnitId> {
    let mut out: Vec<UnitId> = vec![];
    for r in readers {
        if !out.contains(&r.unit) {
            out.push(r.unit);
        }
    }
    out
}
