//! Do two loop units fit into one domain?
//!
//! A domain is rows times columns; a unit without a reduction has only points. What a unit computes for each
//! point of a small domain may be a value for each row of a larger one. Every read from one unit to the other
//! must find its value at the point, or in the row, where it is computed.

use mlc_ir::graph::NodeId;
use mlc_ir::op::Op;
use rustc_hash::FxHashSet;

use super::facts::Role;
use super::relation::Relation;
use super::units::{Kind, Level, Refusal, UnitId, Units};

/// A row with more elements than this may be split over threads: nothing in the same kernel reads its result.
const LARGE_ROW: u64 = 16 << 10;
/// Limits of one kernel.
const MAX_ARGS: usize = 32;
const MAX_EXPRS: u32 = 256;

/// How two units become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Over the same points.
    Same,
    /// The first unit's values are rows of the second's domain.
    FirstInRows,
    /// The second unit's values are rows of the first's domain.
    SecondInRows,
}

/// Whether and how units fit, with every read between them.
pub fn fit(units: &Units<'_, '_>, a: UnitId, b: UnitId) -> Result<Fit, Refusal> {
    let (x, y) = (units.unit(a), units.unit(b));
    if x.kind != Kind::Loop || y.kind != Kind::Loop {
        return Err(Refusal::Domain);
    }
    let fit = match (x.rows, y.rows) {
        (r, s) if x.points == y.points && (r == s || r.is_none() || s.is_none()) => Fit::Same,
        (Some(r), s) if y.points == r && s.is_none_or(|s| s == y.points) => Fit::SecondInRows,
        (r, Some(s)) if x.points == s && r.is_none_or(|r| r == x.points) => Fit::FirstInRows,
        _ => return Err(Refusal::Domain),
    };
    let check = Check {
        units,
        fit,
        first: a,
        rows: if fit == Fit::FirstInRows { y.rows } else { x.rows.or(y.rows) },
        points: x.points.max(y.points),
    };
    check.reads(a, b)?;
    check.reads(b, a)?;
    check.size(a, b)?;
    Ok(fit)
}

struct Check<'u, 'f, 'g> {
    units: &'u Units<'f, 'g>,
    fit: Fit,
    first: UnitId,
    rows: Option<u64>,
    points: u64,
}

impl Check<'_, '_, '_> {
    /// What a node will be in the common domain.
    fn level(&self, id: NodeId) -> Level {
        let level = self.units.level(id);
        let lowered = match self.fit {
            Fit::Same => false,
            Fit::FirstInRows => self.units.of(id) == Some(self.first),
            Fit::SecondInRows => self.units.of(id) != Some(self.first),
        };
        if lowered && level == Level::Element { Level::Row } else { level }
    }

    /// Does `user` find what it reads of `read`?
    fn reads(&self, user: UnitId, read: UnitId) -> Result<(), Refusal> {
        for (m, v, relation) in self.units.links(user, read) {
            self.read(m, v, relation)?;
        }
        Ok(())
    }

    fn read(&self, user: NodeId, read: NodeId, relation: Relation) -> Result<(), Refusal> {
        let reduces =
            matches!(self.units.facts.of(user).role, Role::RowReduce { .. } | Role::ColReduce { .. });
        // A reduction reads over its whole domain: rows only if it is over one value a row.
        let by_row = match self.units.facts.of(user).role {
            Role::ColReduce { cols: 1, .. } => Some(self.points) != self.rows,
            _ => !reduces && self.level(user) == Level::Row,
        };
        let rows = self.rows.unwrap_or(self.points);
        let cols = self.points / rows.max(1);
        let ok = match (self.level(read), by_row) {
            (Level::Tail, _) => return Err(Refusal::Tail),
            (Level::Element, false) | (Level::Row, true) => relation == Relation::Same,
            (Level::Element, true) => relation == Relation::Pick && self.plain(read),
            (Level::Row, false) => {
                if rows == 1 && self.points > LARGE_ROW {
                    return Err(Refusal::LargeRow);
                }
                relation == Relation::Row(cols) || (rows == 1 && relation == Relation::One)
            }
        };
        if ok { Ok(()) } else { Err(Refusal::Place) }
    }

    /// Is the value made element by element from what lies elsewhere? Data may then pick the element; a padding
    /// would not see an index that is out of bounds.
    fn plain(&self, id: NodeId) -> bool {
        let facts = self.units.facts;
        let mut work = vec![id];
        let mut seen = FxHashSet::from_iter([id]);
        while let Some(n) = work.pop() {
            if !matches!(facts.graph.node(n).op, Op::Elementwise(_) | Op::Cast(_)) {
                return false;
            }
            let here =
                |n: &NodeId| self.units.of(*n) == self.units.of(id) && self.level(*n) == Level::Element;
            work.extend(facts.of(n).uses.iter().map(|u| u.node).filter(here).filter(|&n| seen.insert(n)));
        }
        true
    }

    fn size(&self, a: UnitId, b: UnitId) -> Result<(), Refusal> {
        let facts = self.units.facts;
        let members = || self.units.unit(a).members.iter().chain(&self.units.unit(b).members).copied();
        let exprs: u32 = members().map(|m| facts.of(m).exprs).sum();
        let outside = |n: NodeId| !matches!(self.units.of(n), Some(u) if u == a || u == b);
        let mut args: Vec<NodeId> =
            members().flat_map(|m| &facts.of(m).uses).map(|u| u.node).filter(|&n| outside(n)).collect();
        args.extend(
            members()
                .filter(|&m| facts.of(m).keep.is_some() || facts.of(m).users.iter().any(|&u| outside(u))),
        );
        args.sort_unstable();
        args.dedup();
        if exprs > MAX_EXPRS || args.len() > MAX_ARGS { Err(Refusal::Full) } else { Ok(()) }
    }
}

/// Merges two units that fit; the result keeps the first one's id.
pub fn join(units: &mut Units<'_, '_>, a: UnitId, b: UnitId, fit: Fit) {
    match fit {
        Fit::Same => {}
        Fit::FirstInRows => units.lower_to_rows(a),
        Fit::SecondInRows => units.lower_to_rows(b),
    }
    units.merge(a, b);
}
