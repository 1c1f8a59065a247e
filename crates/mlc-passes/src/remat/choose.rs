//! Which values to recompute: the most bytes freed at the peak for the least time, until the plan fits.
//!
//! Candidates are forward temporaries that the backward or the update reads, alone and all those of one scope
//! (`blocks.3`, `blocks.3.mlp`) together, with and without what other scopes read of it. Each is tried on a
//! model of the plan: a dropped value is alive up to its last forward reader and again from its first later
//! reader on; what its kernel reads must be there then, so it is kept, or recomputed too. The choice is greedy
//! by bytes freed at the peak over the time of the recomputed calls. Nothing is accepted that raises the peak
//! elsewhere.

use std::collections::BTreeMap;

use mlc_ir::Device;
use mlc_ir::loops::{Kind, LoopProgram, Mode, Phase, Role};
use rustc_hash::FxHashMap;

use super::cost::Rates;
use super::profile::Profile;
use crate::plan_memory::{ALIGN, donations, lives, profile, spans};

/// A candidate that would recompute more values than this is not tried further.
const MOST_VALUES: usize = 512;

/// What was chosen: temporaries, by buffer, in the order of the choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    pub dropped: Vec<usize>,
    /// For each: an estimate of the time that computing it again takes.
    pub ns: Vec<f64>,
    /// The peak of temporaries that the model expects.
    pub expected: u64,
}

/// Chooses for one device until its temporaries need at most `budget`, or nothing more helps. A greedy choice of
/// small sets first costs least but may end in a corner: where it is not enough, large ones are tried first too.
pub fn choose(program: &LoopProgram, device: Device, budget: u64, rates: &Rates) -> Choice {
    let with = |prefer: Prefer| {
        let mut model = Model::new(program, device, rates);
        let sets = candidates(program, &model);
        let mut dropped = vec![];
        let most = i128::from(budget);
        while model.profile.max() > most && sweep(&mut model, &sets, most, prefer, &mut dropped) {}
        let ns = dropped.iter().map(|&b| model.temps[b].as_ref().map_or(0.0, |t| t.ns)).collect();
        Choice { dropped, ns, expected: model.profile.max().try_into().unwrap_or(0) }
    };
    let small = with(Prefer::Small);
    if small.expected <= budget {
        return small;
    }
    let large = with(Prefer::Large);
    if large.expected < small.expected { large } else { small }
}

/// Which of about equally good sets goes first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Prefer {
    Small,
    Large,
}

/// Ranks all sets at the present peak and takes what helps, best first; false if none does. Of the sets that
/// would be enough, the cheapest ends the search.
fn sweep(
    model: &mut Model<'_>,
    sets: &[Vec<usize>],
    budget: i128,
    prefer: Prefer,
    dropped: &mut Vec<usize>,
) -> bool {
    let at = model.profile.argmax();
    let mut ranked: Vec<(i64, f64, usize)> = vec![];
    for (i, set) in sets.iter().enumerate() {
        if let Some(trial) = model.attempt(set, at) {
            // In steps of a fifth: within one, sets are about as good.
            let score = trial.freed as f64 / trial.ns.max(1.0);
            let size = if prefer == Prefer::Small { trial.ns } else { -trial.ns };
            ranked.push(((score.log2() * 4.0).floor() as i64, size, i));
            model.undo(trial);
        }
    }
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut any = false;
    let mut enough: Option<(f64, usize)> = None;
    for &(_, _, i) in &ranked {
        let Some(trial) = model.attempt(&sets[i], at) else { continue };
        if model.profile.max() <= budget {
            if enough.is_none_or(|(ns, _)| trial.ns < ns) {
                enough = Some((trial.ns, i));
            }
            model.undo(trial);
        } else if enough.is_some() {
            model.undo(trial);
        } else {
            dropped.extend(trial.new_drops());
            any = true;
        }
    }
    if let Some(trial) = enough.and_then(|(_, i)| model.attempt(&sets[i], at)) {
        dropped.extend(trial.new_drops());
        any = true;
    }
    any
}

/// Values to drop together.
fn candidates(program: &LoopProgram, model: &Model<'_>) -> Vec<Vec<usize>> {
    let single: Vec<usize> = (0..program.buffers.len()).filter(|&b| model.is_candidate(b)).collect();
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &b in &single {
        let scope = &*program.buffers[b].prov.scope;
        let ends = scope.match_indices('.').map(|(at, _)| at).chain([scope.len()]);
        ends.for_each(|end| groups.entry(&scope[..end]).or_default().push(b));
    }
    let mut sets: Vec<Vec<usize>> = single.iter().map(|&b| vec![b]).collect();
    for (scope, members) in groups {
        let own = |b: &&usize| model.read_in_scope(**b, scope);
        let inner: Vec<usize> = members.iter().filter(own).copied().collect();
        let several = [inner, members].into_iter().filter(|s| s.len() > 1);
        several.for_each(|s| {
            if sets.last() != Some(&s) {
                sets.push(s)
            }
        });
    }
    sets
}

/// A temporary of the model.
#[derive(Debug, Clone)]
struct Temp {
    /// On the device; 0 on others, which are not this choice's concern.
    bytes: i128,
    writers: Vec<u32>,
    readers: Vec<u32>,
    recomputable: bool,
    /// Of all its writers.
    ns: f64,
    life: Life,
}

/// The part of a temporary that a choice changes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Life {
    /// As planned, without the call that hands its bytes on.
    first: u32,
    last: u32,
    /// The last call that touches it.
    last_use: u32,
    /// The last forward call that does; none if only later calls read it.
    forward: Option<u32>,
    /// The first and the last later one.
    late: Option<(u32, u32)>,
    dropped: bool,
}

impl Life {
    /// The calls in which it is in memory.
    fn intervals(&self) -> [(u32, u32); 2] {
        const NONE: (u32, u32) = (1, 0);
        match self.late.filter(|_| self.dropped) {
            None => [(self.first, self.last), NONE],
            Some((from, _)) => [self.forward.map_or(NONE, |f| (self.first, f)), (from, self.last)],
        }
    }
}

struct Model<'p> {
    program: &'p LoopProgram,
    temps: Vec<Option<Temp>>,
    /// For each buffer of a state: the first call that writes it.
    overwritten: FxHashMap<usize, u32>,
    profile: Profile,
}

/// A set of values as dropped, until it is undone.
struct Trial {
    before: Vec<(usize, Life)>,
    after: Vec<(usize, Life)>,
    freed: i128,
    ns: f64,
}

impl Trial {
    fn new_drops(&self) -> impl Iterator<Item = usize> {
        let pairs = self.before.iter().zip(&self.after);
        pairs.filter(|(b, a)| a.1.dropped && !b.1.dropped).map(|(b, _)| b.0)
    }
}

impl Model<'_> {
    fn new<'p>(program: &'p LoopProgram, device: Device, rates: &Rates) -> Model<'p> {
        let lives = lives(program);
        let spans = spans(program, &lives, &donations(program, &lives));
        let mut temps: Vec<Option<Temp>> = vec![None; program.buffers.len()];
        for (i, b) in program.buffers.iter().enumerate() {
            let (Some((first, last)), Some((_, last_use))) = (spans[i], lives[i]) else { continue };
            let bytes = if b.device == device { i128::from(b.bytes().next_multiple_of(ALIGN)) } else { 0 };
            let (first, last, last_use) = (first.0, last.0, last_use.0);
            let life = Life { first, last, last_use, forward: None, late: None, dropped: false };
            temps[i] = Some(Temp {
                bytes,
                writers: vec![],
                readers: vec![],
                recomputable: b.prov.phase == Phase::Forward,
                ns: 0.0,
                life,
            });
        }
        let mut model = Model {
            program,
            temps,
            overwritten: FxHashMap::default(),
            profile: Profile::new(&profile(program, &spans, Some(device))),
        };
        for i in 0..program.calls.len() {
            model.add_uses(i, rates);
        }
        model
    }

    fn add_uses(&mut self, i: usize, rates: &Rates) {
        let (call, at) = (&self.program.calls[i], i as u32);
        let kernel = self.program.kernel_of(call);
        let crosses = matches!(&kernel.kind, Kind::Copy(c) if c.transfer.is_some());
        let forward = call.prov.phase == Phase::Forward;
        for (slice, arg) in call.args.iter().zip(&kernel.args) {
            let b = slice.buffer.ix();
            if arg.mode != Mode::Read && matches!(self.program.buffers[b].role, Role::State(_)) {
                self.overwritten.entry(b).or_insert(at);
            }
            let Some(temp) = &mut self.temps[b] else { continue };
            if arg.mode != Mode::Read {
                temp.recomputable &= forward && !crosses;
                temp.ns += rates.call(self.program, call);
                temp.writers.push(at);
            }
            if arg.mode != Mode::Write {
                temp.readers.push(at);
                match forward {
                    true => temp.life.forward = Some(at),
                    false => temp.life.late = Some((temp.life.late.map_or(at, |l| l.0), at)),
                }
            }
        }
    }

    fn is_candidate(&self, b: usize) -> bool {
        self.temps[b].as_ref().is_some_and(|t| t.recomputable && t.bytes > 0 && t.life.late.is_some())
    }

    /// Do only calls of this scope read it in the forward?
    fn read_in_scope(&self, b: usize, scope: &str) -> bool {
        let inside = |call: &u32| {
            let prov = &self.program.calls[*call as usize].prov;
            let rest = prov.scope.strip_prefix(scope);
            prov.phase != Phase::Forward || rest.is_some_and(|r| r.is_empty() || r.starts_with('.'))
        };
        self.temps[b].as_ref().is_some_and(|t| t.readers.iter().all(inside))
    }

    /// Drops a set. Nothing changes, and the answer is none, unless that frees bytes in the call `at` and no
    /// call needs more than the peak was before.
    fn attempt(&mut self, set: &[usize], at: u32) -> Option<Trial> {
        let (most, here) = (self.profile.max(), self.profile.at(at));
        let mut before: BTreeMap<usize, Life> = BTreeMap::new();
        let possible = self.drop_all(set, &mut before);
        let before: Vec<(usize, Life)> = before.into_iter().collect();
        let after: Vec<(usize, Life)> =
            before.iter().filter_map(|&(b, _)| Some((b, self.life(b)?))).collect();
        self.shift(&before, &after);
        let new = |((_, old), (b, life)): (&(usize, Life), &(usize, Life))| {
            let temp = self.temps[*b].as_ref().filter(|_| life.dropped && !old.dropped);
            temp.map_or(0.0, |t| t.ns)
        };
        let ns = before.iter().zip(&after).map(new).sum();
        let trial = Trial { before, after, freed: here - self.profile.at(at), ns };
        if possible && trial.freed > 0 && self.profile.max() <= most {
            return Some(trial);
        }
        self.undo(trial);
        None
    }

    fn life(&self, b: usize) -> Option<Life> {
        self.temps[b].as_ref().map(|t| t.life)
    }

    fn undo(&mut self, trial: Trial) {
        self.shift(&trial.after, &trial.before);
        for (b, life) in trial.before {
            if let Some(t) = &mut self.temps[b] {
                t.life = life;
            }
        }
    }

    /// Moves the profile from some lives to others of the same temporaries.
    fn shift(&mut self, from: &[(usize, Life)], to: &[(usize, Life)]) {
        for (lives, sign) in [(from, -1), (to, 1)] {
            for (b, life) in lives {
                let bytes = self.temps[*b].as_ref().map_or(0, |t| t.bytes);
                life.intervals().iter().for_each(|i| self.profile.add(i.0, i.1, sign * bytes));
            }
        }
    }

    /// Drops the set and provides what recomputing it needs; false where that is not possible. `before` gets the
    /// lives of all that changed.
    fn drop_all(&mut self, set: &[usize], before: &mut BTreeMap<usize, Life>) -> bool {
        let mut work: Vec<(usize, u32)> = vec![];
        for &b in set {
            if let Some((late, _)) = self.life(b).filter(|l| !l.dropped).and_then(|l| l.late) {
                work.push((b, late));
            }
        }
        // The set first: what it needs may be of it.
        for &(b, late) in &work.clone() {
            if !self.drop_one(b, late, before) {
                return false;
            }
        }
        while let Some((b, at)) = work.pop() {
            if before.len() > MOST_VALUES {
                return false;
            }
            for slot in 0..self.temps[b].as_ref().map_or(0, |t| t.writers.len()) {
                let Some(writer) = self.temps[b].as_ref().map(|t| t.writers[slot]) else { continue };
                if !self.provide(writer, at, before, &mut work) {
                    return false;
                }
            }
        }
        true
    }

    /// Marks a value as recomputed from the call `at` on.
    fn drop_one(&mut self, b: usize, at: u32, before: &mut BTreeMap<usize, Life>) -> bool {
        let Some(temp) = self.temps[b].as_mut().filter(|t| t.recomputable) else { return false };
        before.entry(b).or_insert(temp.life);
        let life = &mut temp.life;
        life.dropped = true;
        let (first, last) = life.late.unwrap_or((at, at));
        life.late = Some((first.min(at), last.max(at)));
        life.last = life.last.max(at);
        true
    }

    /// What the call `writer` reads must be there when it runs again before the call `at`.
    fn provide(
        &mut self,
        writer: u32,
        at: u32,
        before: &mut BTreeMap<usize, Life>,
        work: &mut Vec<(usize, u32)>,
    ) -> bool {
        let call = &self.program.calls[writer as usize];
        for (slice, arg) in call.args.iter().zip(&self.program.kernel_of(call).args) {
            let b = slice.buffer.ix();
            if arg.mode != Mode::Read {
                continue;
            }
            if self.overwritten.get(&b).is_some_and(|&w| w <= at) {
                return false;
            }
            let Some(temp) = &self.temps[b] else { continue };
            let life = temp.life;
            let there = match life.late.filter(|_| life.dropped) {
                Some((from, _)) => from <= at && at <= life.last_use.max(life.last),
                None => at <= life.last_use.max(life.last),
            };
            if there {
                continue;
            }
            // What is small beside the values that it serves is kept rather than computed again.
            let small = !life.dropped && temp.bytes * 8 <= self.served(before);
            if temp.recomputable && !small {
                if !self.drop_one(b, at, before) {
                    return false;
                }
                work.push((b, at));
            } else if let Some(temp) = &mut self.temps[b] {
                before.entry(b).or_insert(temp.life);
                temp.life.last = temp.life.last.max(at);
                temp.life.last_use = temp.life.last_use.max(at);
            }
        }
        true
    }

    /// The largest of the values that a trial drops.
    fn served(&self, before: &BTreeMap<usize, Life>) -> i128 {
        let dropped = before.keys().filter_map(|&b| self.temps[b].as_ref()).filter(|t| t.life.dropped);
        dropped.map(|t| t.bytes).max().unwrap_or(0)
    }
}
