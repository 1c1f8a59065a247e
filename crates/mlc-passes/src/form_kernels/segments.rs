//! Step S, segments: small kernels without rows that do not depend on one another run as one: the updates of
//! biases, the counters, partial norms of gradients.
//!
//! Groups are visited in order; each joins the first bucket that does not lead to it. A segment has nothing
//! to do with the others: none reads what another computes, and none touches a state that another writes.

use mlc_ir::Symbol;
use mlc_ir::graph::{NodeId, Phase};
use mlc_ir::lower::{Form, base};
use mlc_ir::op::Op;
use rustc_hash::{FxHashMap, FxHashSet};

use super::decide::Log;
use super::facts::Facts;
use super::{Group, Joined, Part};

/// Segments of one kernel.
const MAX_SEGMENTS: usize = 1024;
/// What reads and writes no more than this is small. Larger updates may join too: what they read is alive to
/// the end anyway.
const SMALL_BYTES: u64 = 1 << 20;
/// Groups that one search for a path looks at.
const SEARCH_LIMIT: usize = 4096;

/// Merges groups; the result is in topological order again.
pub fn segments(facts: &Facts<'_>, groups: Vec<Group>, joined: &[Joined], log: &mut Log) -> Vec<Group> {
    let mut s = Segments::new(facts, groups, joined);
    for at in 0..s.groups.len() {
        if s.eligible(at) {
            s.place(at);
        }
    }
    for bucket in s.buckets.iter().filter(|b| b.members.len() > 1) {
        for &g in &bucket.members {
            for out in &s.groups[g].parts[0].recipe.outs {
                let n = bucket.members.len();
                log.about(
                    facts,
                    out.value.node,
                    "fused",
                    format!("one of {n} small kernels that run as one"),
                );
            }
        }
    }
    s.merged()
}

/// Groups that will be one.
struct Bucket {
    members: Vec<usize>,
    device: Option<mlc_ir::Device>,
    reads: FxHashSet<Symbol>,
    writes: FxHashSet<Symbol>,
}

struct Segments<'f, 'g> {
    facts: &'f Facts<'g>,
    groups: Vec<Group>,
    /// The groups that each reads.
    before: Vec<Vec<usize>>,
    /// The states that each writes.
    writes: Vec<FxHashSet<Symbol>>,
    bucket_of: Vec<Option<usize>>,
    buckets: Vec<Bucket>,
}

impl<'f, 'g> Segments<'f, 'g> {
    fn new(facts: &'f Facts<'g>, groups: Vec<Group>, joined: &[Joined]) -> Segments<'f, 'g> {
        let mut home: FxHashMap<NodeId, Vec<usize>> = FxHashMap::default();
        for (i, g) in groups.iter().enumerate() {
            home.extend(g.parts.iter().flat_map(|p| &p.recipe.outs).map(|o| (o.value.node, vec![i])));
        }
        for j in joined {
            let parts = j.parts.iter().filter_map(|p| home.get(&p.0.node)).flatten().copied().collect();
            home.insert(j.whole.node, parts);
        }
        let before = |g: &Group| {
            let reads = g.parts.iter().flat_map(|p| &p.reads).filter_map(|n| home.get(n)).flatten().copied();
            let mut out: Vec<usize> = reads.collect();
            out.sort_unstable();
            out.dedup();
            out
        };
        let mut writes = vec![FxHashSet::default(); groups.len()];
        for w in &facts.graph.writes {
            for &g in home.get(&base(facts.graph, w.value).node).into_iter().flatten() {
                writes[g].insert(w.state.clone());
            }
        }
        let (bucket_of, before) = (vec![None; groups.len()], groups.iter().map(before).collect());
        Segments { facts, groups, before, writes, bucket_of, buckets: vec![] }
    }

    fn part(&self, g: usize) -> &Part {
        &self.groups[g].parts[0]
    }

    /// Is it a loop without rows, and small or an update?
    fn eligible(&self, g: usize) -> bool {
        let part = self.part(g);
        let Form::Loop { rows, .. } = &part.recipe.form else { return false };
        let outs = part.recipe.outs.iter().map(|o| o.value.node);
        let bytes: u64 = part.reads.iter().copied().chain(outs.clone()).map(|n| self.facts.of(n).bytes).sum();
        let phase = |n: NodeId| self.facts.graph.node(n).prov.phase;
        let update = outs.clone().all(|n| matches!(phase(n), Phase::Update | Phase::Infra));
        rows.iter().all(|&r| r == 1) && (bytes <= SMALL_BYTES || update)
    }

    fn place(&mut self, g: usize) {
        let part = self.part(g);
        let device = part.recipe.outs.first().and_then(|o| self.facts.graph.ty(o.value).device);
        let state = |n: &NodeId| match &self.facts.graph.node(*n).op {
            Op::State(s) => Some(s.path.clone()),
            _ => None,
        };
        let reads: FxHashSet<Symbol> = part.reads.iter().filter_map(state).collect();
        let fits = |(i, b): (usize, &Bucket)| {
            let apart = b.reads.is_disjoint(&self.writes[g])
                && b.writes.is_disjoint(&reads)
                && b.writes.is_disjoint(&self.writes[g]);
            b.device == device && b.members.len() < MAX_SEGMENTS && apart && !self.leads_to(i, g)
        };
        let found = self.buckets.iter().enumerate().position(fits);
        let bucket = found.unwrap_or_else(|| {
            let (reads, writes) = (FxHashSet::default(), FxHashSet::default());
            self.buckets.push(Bucket { members: vec![], device, reads, writes });
            self.buckets.len() - 1
        });
        let b = &mut self.buckets[bucket];
        b.members.push(g);
        b.reads.extend(reads);
        b.writes.extend(self.writes[g].iter().cloned());
        self.bucket_of[g] = Some(bucket);
    }

    /// Does a path lead from the bucket to the group, through other buckets as wholes? Too long a search
    /// counts as one.
    fn leads_to(&self, bucket: usize, g: usize) -> bool {
        let mut seen: FxHashSet<usize> = FxHashSet::from_iter([g]);
        let mut work = vec![g];
        while let Some(at) = work.pop() {
            for &b in &self.before[at] {
                if self.bucket_of[b] == Some(bucket) || seen.len() > SEARCH_LIMIT {
                    return true;
                }
                match self.bucket_of[b] {
                    Some(other) => {
                        let all = self.buckets[other].members.iter().copied();
                        work.extend(all.filter(|&m| seen.insert(m)));
                    }
                    None if seen.insert(b) => work.push(b),
                    None => {}
                }
            }
        }
        false
    }

    /// Buckets as groups, in an order in which each comes after what it reads.
    fn merged(self) -> Vec<Group> {
        use std::cmp::Reverse;
        let first = |g: usize| self.bucket_of[g].map_or(g, |b| self.buckets[b].members[0]);
        let mut before: Vec<FxHashSet<usize>> = vec![FxHashSet::default(); self.groups.len()];
        let mut after: Vec<Vec<usize>> = vec![vec![]; self.groups.len()];
        for (g, reads) in self.before.iter().enumerate() {
            for &b in reads {
                if first(b) != first(g) && before[first(g)].insert(first(b)) {
                    after[first(b)].push(first(g));
                }
            }
        }
        let mut waiting: Vec<usize> = before.iter().map(FxHashSet::len).collect();
        let heads = (0..self.groups.len()).filter(|&g| first(g) == g);
        let mut ready: std::collections::BinaryHeap<Reverse<usize>> =
            heads.filter(|&g| waiting[g] == 0).map(Reverse).collect();
        let mut parts: Vec<Vec<Part>> = self.groups.iter().map(|_| vec![]).collect();
        let owner: Vec<usize> = (0..self.groups.len()).map(first).collect();
        for (g, group) in self.groups.into_iter().enumerate() {
            parts[owner[g]].extend(group.parts);
        }
        let mut out = vec![];
        while let Some(Reverse(g)) = ready.pop() {
            out.push(Group { parts: std::mem::take(&mut parts[g]) });
            for &a in &after[g] {
                waiting[a] -= 1;
                if waiting[a] == 0 {
                    ready.push(Reverse(a));
                }
            }
        }
        out
    }
}
