//! Step S, segments: small kernels without rows that do not depend on one another run as one: the updates of
//! biases, the counters, partial norms of gradients.
//!
//! Groups are visited in order; each joins the first bucket that does not lead to it. A segment has nothing
//! to do with the others: none reads what another computes, and none touches a state that another writes.
//!
//! What leads to a group is kept as a set of buckets, made of the sets of the groups that it reads; only paths through
//! several buckets are searched for, as buckets grow. So the step is linear in the groups as long as buckets are few.

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

/// Merges groups; the result is in topological order again.
pub fn segments(facts: &Facts<'_>, groups: Vec<Group>, joined: &[Joined], log: &mut Log) -> Vec<Group> {
    let mut s = Segments::new(facts, groups, joined);
    for at in 0..s.groups.len() {
        s.straight[at] = s.straight_to(at);
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

/// A set of buckets.
#[derive(Debug, Clone, Default)]
struct Set(Vec<u64>);

impl Set {
    /// Adds one; was it missing?
    fn insert(&mut self, bucket: usize) -> bool {
        let (word, bit) = (bucket / 64, 1 << (bucket % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let missing = self.0[word] & bit == 0;
        self.0[word] |= bit;
        missing
    }

    fn extend(&mut self, other: &Set) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    fn contains(&self, bucket: usize) -> bool {
        self.0.get(bucket / 64).is_some_and(|word| word & (1 << (bucket % 64)) != 0)
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..64 * self.0.len()).filter(|&b| self.contains(b))
    }
}

/// Groups that will be one.
struct Bucket {
    /// The buckets that lead straight to a member.
    straight: Set,
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
    /// The buckets that lead to each group through groups that are in none.
    straight: Vec<Set>,
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
        let straight = vec![Set::default(); groups.len()];
        Segments { facts, groups, before, writes, bucket_of, straight, buckets: vec![] }
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
        let leading = self.leading_to(g);
        let fits = |(i, b): (usize, &Bucket)| {
            let apart = || {
                b.reads.is_disjoint(&self.writes[g])
                    && b.writes.is_disjoint(&reads)
                    && b.writes.is_disjoint(&self.writes[g])
            };
            b.device == device && b.members.len() < MAX_SEGMENTS && !leading.contains(i) && apart()
        };
        let found = self.buckets.iter().enumerate().position(fits);
        let bucket = found.unwrap_or_else(|| {
            let (reads, writes) = (FxHashSet::default(), FxHashSet::default());
            self.buckets.push(Bucket { straight: Set::default(), members: vec![], device, reads, writes });
            self.buckets.len() - 1
        });
        let b = &mut self.buckets[bucket];
        b.members.push(g);
        b.straight.extend(&self.straight[g]);
        b.reads.extend(reads);
        b.writes.extend(self.writes[g].iter().cloned());
        self.bucket_of[g] = Some(bucket);
    }

    /// The buckets that lead straight to a group; what it reads has been visited.
    fn straight_to(&self, g: usize) -> Set {
        let mut set = Set::default();
        for &b in &self.before[g] {
            match self.bucket_of[b] {
                Some(bucket) => _ = set.insert(bucket),
                None => set.extend(&self.straight[b]),
            }
        }
        set
    }

    /// The buckets from which a path leads to the group, through other buckets as wholes.
    fn leading_to(&self, g: usize) -> Set {
        let mut all = self.straight[g].clone();
        let mut work: Vec<usize> = all.iter().collect();
        while let Some(b) = work.pop() {
            work.extend(self.buckets[b].straight.iter().filter(|&before| all.insert(before)));
        }
        all
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
