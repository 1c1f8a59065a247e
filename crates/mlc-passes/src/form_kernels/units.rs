//! Groups in the making, and the search for cycles among them.
//!
//! Every node begins as a unit of its own; steps merge units. A unit will be one kernel, so it runs all at
//! once: two units may merge only if no path leads from one to the other through a third.
//!
//! `time` says when a unit can run at the earliest, counted in nodes from the sources: the longest path. It
//! never sinks along an edge, so a search for a path from f to g leaves out whatever is earlier than f or later than g.

use std::cell::RefCell;

use mlc_ir::Device;
use mlc_ir::graph::{NodeId, Phase};

use super::facts::{Facts, Role};
use super::relation::Relation;

/// Units visited by one search from each end; beyond that a merge is refused.
const SEARCH_LIMIT: usize = 4096;
/// Members of a unit: bounds compile time for one kernel.
const MAX_MEMBERS: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitId(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Maps and reductions over one domain.
    Loop,
    /// A contraction and its epilogue.
    Contract,
    /// Nothing joins it.
    Own,
}

/// What a member is in the domain of its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A value for each point (in an epilogue: or pulled in at some other place).
    Element,
    /// A value for each row.
    Row,
    /// A result of all rows, not to be read inside.
    Tail,
}

#[derive(Debug, Clone)]
pub struct Unit {
    pub kind: Kind,
    /// Ascending by position.
    pub members: Vec<NodeId>,
    /// Points of the domain.
    pub points: u64,
    /// Rows of the domain, once there is a reduction.
    pub rows: Option<u64>,
    pub device: Option<Device>,
    /// See the module.
    pub time: u32,
    /// Is any member of the forward part?
    pub forward: bool,
}

/// Why two units do not merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The other one is a contraction, whose kernel takes in what follows by itself.
    Contraction,
    /// The other one is a kernel of its own.
    Opaque,
    /// It is a concat whose parts several kernels write.
    Joined,
    /// A contraction reads it.
    Operand,
    /// It is in memory for another kernel, and read there.
    Stored,
    Cycle,
    SearchLimit,
    Full,
    Device,
    Domain,
    Place,
    Tail,
    LargeRow,
    Later,
    Lifetime,
    /// One value is not worth a wait.
    OneValue,
}

impl Refusal {
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::Contraction => {
                "it reads a matrix product, and does not follow it element by element alone"
            }
            Refusal::Opaque => "it reads the result of an op that is a kernel of its own",
            Refusal::Joined => "several kernels write the parts of what it reads",
            Refusal::Operand => "a matrix product reads each element many times, so it lies in memory",
            Refusal::Stored => {
                "it lies in memory for another kernel too, and reading it costs less than making it again"
            }
            Refusal::Cycle => "what it needs depends on this kernel's result through another kernel",
            Refusal::SearchLimit => "the search for a cycle between the two kernels was given up",
            Refusal::Full => "the kernel is full",
            Refusal::Device => "they are on different devices",
            Refusal::Domain => "they loop over different numbers of rows and columns",
            Refusal::Place => "it reads elements at other places than where they are computed",
            Refusal::Tail => "it needs a sum over all rows, which is there only after the last row",
            Refusal::LargeRow => "it needs the result of one large reduction, which is there only at its end",
            Refusal::OneValue => "for one value the whole reduction would have to wait for another kernel",
            Refusal::Later => "it is needed only much later, and would have to be kept until then",
            Refusal::Lifetime => "the kernel would have to wait, and keep what it reads alive meanwhile",
        }
    }
}

pub struct Units<'f, 'g> {
    pub facts: &'f Facts<'g>,
    of: Vec<Option<UnitId>>,
    level: Vec<Level>,
    /// When each node's value is needed first, counted as `time` is.
    needed: Vec<u32>,
    list: Vec<Unit>,
    marks: RefCell<Marks>,
}

/// The searches for a path, against the edges and along them; kept from one to the next, as there are many and most
/// are short.
#[derive(Default)]
struct Marks {
    against: Search,
    along: Search,
}

#[derive(Default)]
struct Search {
    /// The last search that saw each unit.
    seen: Vec<u32>,
    number: u32,
    work: Vec<UnitId>,
    visited: usize,
}

impl Search {
    fn begin(&mut self, units: usize) {
        self.seen.resize(units, 0);
        self.number += 1;
        self.visited = 0;
        self.work.clear();
    }

    /// Adds a unit that this search has not seen.
    fn visit(&mut self, unit: UnitId) {
        let seen = &mut self.seen[unit.0 as usize];
        if *seen != self.number {
            *seen = self.number;
            self.visited += 1;
            self.work.push(unit);
        }
    }
}

impl<'f, 'g> Units<'f, 'g> {
    pub fn new(facts: &'f Facts<'g>) -> Units<'f, 'g> {
        let bound = facts.bound();
        let mut units = Units {
            facts,
            of: vec![None; bound],
            level: vec![Level::Element; bound],
            needed: vec![0; bound],
            list: vec![],
            marks: RefCell::default(),
        };
        for &id in &facts.order {
            units.begin(id);
        }
        for &id in facts.order.iter().rev() {
            let own = units.of(id).map_or(0, |u| units.unit(u).time);
            let users = facts.of(id).users.iter().map(|&u| units.needed[u.0 as usize]);
            units.needed[id.0 as usize] = users.min().unwrap_or(own).max(own);
        }
        units
    }

    /// When the value is needed first.
    pub fn needed(&self, id: NodeId) -> u32 {
        self.needed[id.0 as usize]
    }

    fn begin(&mut self, id: NodeId) {
        let f = self.facts.of(id);
        let node = self.facts.graph.node(id);
        let (kind, points, rows) = match f.role {
            Role::Map => (Kind::Loop, f.size, None),
            Role::RowReduce { rows, cols } => {
                self.level[id.0 as usize] = Level::Row;
                (Kind::Loop, rows.saturating_mul(cols), Some(rows))
            }
            Role::ColReduce { rows, cols } => {
                self.level[id.0 as usize] = Level::Tail;
                (Kind::Loop, rows.saturating_mul(cols), Some(rows))
            }
            Role::Contract => (Kind::Contract, f.size, None),
            Role::Own | Role::Joined | Role::Source | Role::Inline => (Kind::Own, f.size, None),
        };
        let before = f.uses.iter().filter_map(|u| self.of(u.node)).map(|u| self.unit(u).time).max();
        let unit = Unit {
            kind,
            members: vec![id],
            points,
            rows,
            device: node.results.first().and_then(|t| t.device),
            time: before.map_or(0, |t| t + 1),
            forward: node.prov.phase == Phase::Forward,
        };
        self.of[id.0 as usize] = Some(UnitId(self.list.len() as u32));
        self.list.push(unit);
    }

    /// The unit of a node; `None` for what needs no kernel.
    pub fn of(&self, id: NodeId) -> Option<UnitId> {
        self.of[id.0 as usize]
    }

    pub fn unit(&self, id: UnitId) -> &Unit {
        &self.list[id.0 as usize]
    }

    pub fn level(&self, id: NodeId) -> Level {
        self.level[id.0 as usize]
    }

    /// Units that still have members.
    pub fn ids(&self) -> impl Iterator<Item = UnitId> + '_ {
        let all = self.list.iter().enumerate();
        all.filter(|(_, u)| !u.members.is_empty()).map(|(i, _)| UnitId(i as u32))
    }

    /// The units that a unit reads.
    pub fn before(&self, id: UnitId) -> Vec<UnitId> {
        let members = self.unit(id).members.iter();
        let reads = members.flat_map(|&m| &self.facts.of(m).uses).filter_map(|u| self.of(u.node));
        let mut out: Vec<UnitId> = reads.filter(|&u| u != id).collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// The units that read a unit.
    pub fn after(&self, id: UnitId) -> Vec<UnitId> {
        let members = self.unit(id).members.iter();
        let users = members.flat_map(|&m| &self.facts.of(m).users).filter_map(|&u| self.of(u));
        let mut out: Vec<UnitId> = users.filter(|&u| u != id).collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// May the units become one, as far as order, size and device go?
    pub fn may_join(&self, a: UnitId, b: UnitId) -> Result<(), Refusal> {
        let (x, y) = (self.unit(a), self.unit(b));
        if x.device != y.device {
            return Err(Refusal::Device);
        }
        if x.members.len() + y.members.len() > MAX_MEMBERS {
            return Err(Refusal::Full);
        }
        self.no_detour(a, b)?;
        self.no_detour(b, a)
    }

    /// Is there no path from `from` to `to` through a third unit? Both ends are searched from, the one with less
    /// work behind it first: a value that is early and has one late reader is far from it against the edges, and
    /// next to it along them.
    fn no_detour(&self, from: UnitId, to: UnitId) -> Result<(), Refusal> {
        let (earliest, latest) = (self.unit(from).time, self.unit(to).time);
        if latest < earliest {
            return Ok(());
        }
        let mut marks = self.marks.borrow_mut();
        let Marks { against, along } = &mut *marks;
        against.begin(self.list.len());
        along.begin(self.list.len());
        // One edge is no detour.
        self.mark_before(to, from, against);
        self.mark_after(from, to, along);
        loop {
            if against.visited.min(along.visited) > SEARCH_LIMIT {
                return Err(Refusal::SearchLimit);
            }
            let back = against.visited <= along.visited;
            let side = if back { &mut *against } else { &mut *along };
            let Some(u) = side.work.pop() else { return Ok(()) };
            if u == if back { from } else { to } {
                return Err(Refusal::Cycle);
            }
            let time = self.unit(u).time;
            match back {
                true if time >= earliest => self.mark_before(u, u, side),
                false if time <= latest => self.mark_after(u, u, side),
                _ => {}
            }
        }
    }

    /// Adds to a search the units that `id` reads, but for `except`.
    fn mark_before(&self, id: UnitId, except: UnitId, search: &mut Search) {
        for &m in &self.unit(id).members {
            let units = self.facts.of(m).uses.iter().filter_map(|u| self.of(u.node));
            units.filter(|&u| u != id && u != except).for_each(|u| search.visit(u));
        }
    }

    /// Adds to a search the units that read `id`, but for `except`.
    fn mark_after(&self, id: UnitId, except: UnitId, search: &mut Search) {
        for &m in &self.unit(id).members {
            let units = self.facts.of(m).users.iter().filter_map(|&u| self.of(u));
            units.filter(|&u| u != id && u != except).for_each(|u| search.visit(u));
        }
    }

    /// Does `id` depend on `on`, however far?
    pub fn depends(&self, id: UnitId, on: UnitId) -> Result<bool, Refusal> {
        if id == on || self.before(id).contains(&on) {
            return Ok(true);
        }
        match self.no_detour(on, id) {
            Err(Refusal::Cycle) => Ok(true),
            Err(other) => Err(other),
            Ok(()) => Ok(false),
        }
    }

    /// Moves the members of `b` into `a`, which takes the larger domain.
    pub fn merge(&mut self, a: UnitId, b: UnitId) {
        let gone = std::mem::take(&mut self.list[b.0 as usize].members);
        for m in &gone {
            self.of[m.0 as usize] = Some(a);
        }
        let y = self.list[b.0 as usize].clone();
        let facts = self.facts;
        let x = &mut self.list[a.0 as usize];
        x.members.extend(gone);
        x.members.sort_unstable_by_key(|&m| facts.of(m).position);
        if x.kind == Kind::Loop && (y.points > x.points || x.rows.is_none()) && y.kind == Kind::Loop {
            x.points = x.points.max(y.points);
            x.rows = x.rows.or(y.rows);
        }
        x.forward |= y.forward;
        let time = x.time.max(y.time);
        self.raise(a, time);
    }

    /// Sets a unit's time and passes it on to the units after it.
    fn raise(&mut self, id: UnitId, time: u32) {
        self.list[id.0 as usize].time = time;
        let mut work = vec![id];
        while let Some(u) = work.pop() {
            let time = self.unit(u).time;
            for after in self.after(u) {
                if self.unit(after).time < time {
                    self.list[after.0 as usize].time = time;
                    work.push(after);
                }
            }
        }
    }

    /// Makes a unit's values of points values of rows.
    pub fn lower_to_rows(&mut self, id: UnitId) {
        for m in self.unit(id).members.clone() {
            if self.level(m) == Level::Element {
                self.level[m.0 as usize] = Level::Row;
            }
        }
    }

    /// The relations in which the members of `user` read members of `read`, with these.
    pub fn links(&self, user: UnitId, read: UnitId) -> Vec<(NodeId, NodeId, Relation)> {
        let mut out = vec![];
        for &m in &self.unit(user).members {
            let uses = self.facts.of(m).uses.iter().filter(|u| self.of(u.node) == Some(read));
            out.extend(uses.map(|u| (m, u.node, u.relation)));
        }
        out
    }
}
