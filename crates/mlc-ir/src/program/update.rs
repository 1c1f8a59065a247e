//! What an update of a train block consists of: the losses that run, and the calls of entries that this takes.
//! The front end builds an entry for each [`Pass`], the training loop runs them, and both ask here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::{Entry, EntryKind};
use super::{Program, Train};

/// One call: losses on one (micro-)batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Indices of the losses that run, in order, each on the parameters that the ones before it left.
    pub losses: Vec<usize>,
    /// The block's metrics are among the results: in the calls that read the parameters an update starts from.
    pub metrics: bool,
    pub end: PassEnd,
}

/// What a call does with the gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PassEnd {
    /// Adds them to the sums, under `accumulate`.
    Micro,
    /// Updates the parameters; other losses of the same update follow.
    Update,
    /// Updates the parameters, and the update ends: averages follow, learning rates are reported, `step` counts up.
    Step,
}

/// One update in which exactly `losses` run, and its calls in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub losses: Vec<usize>,
    pub stages: Vec<Stage>,
}

/// Some losses of an update on all of its micro-batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// On each micro-batch but the last, if there are any.
    pub micro: Option<Pass>,
    pub last: Pass,
}

impl Update {
    /// Sets of active losses that one block may have.
    pub const MAX: usize = 64;

    /// The updates that occur in a block whose losses run every so many (at least 1) steps, all losses first, and
    /// whether these are all of them: no more than [`Update::MAX`] are listed.
    pub fn all(every: &[u64], accumulate: u64, metrics: bool) -> (Vec<Update>, bool) {
        let (sets, complete) = active_sets(every);
        (sets.into_iter().map(|set| Update::of(set, accumulate, metrics)).collect(), complete)
    }

    /// Without `accumulate` one call runs all losses. Under it each loss must have seen every micro-batch before
    /// the next one runs.
    fn of(losses: Vec<usize>, accumulate: u64, metrics: bool) -> Update {
        let apart = accumulate > 1 && losses.len() > 1;
        let parts = if apart { losses.iter().map(|&l| vec![l]).collect() } else { vec![losses.clone()] };
        let count = parts.len();
        let stage = |(k, losses): (usize, Vec<usize>)| {
            let pass = |end| Pass { losses: losses.clone(), metrics: metrics && k == 0, end };
            let micro = (accumulate > 1).then(|| pass(PassEnd::Micro));
            Stage { micro, last: pass(if k + 1 == count { PassEnd::Step } else { PassEnd::Update }) }
        };
        Update { losses, stages: parts.into_iter().enumerate().map(stage).collect() }
    }

    /// The passes of some updates, each once: those of last micro-batches, then those before.
    pub fn passes(updates: &[Update]) -> Vec<&Pass> {
        let stages = || updates.iter().flat_map(|u| &u.stages);
        let mut all: Vec<&Pass> = vec![];
        for pass in stages().map(|s| &s.last).chain(stages().filter_map(|s| s.micro.as_ref())) {
            if !all.contains(&pass) {
                all.push(pass);
            }
        }
        all
    }
}

impl Train {
    /// The updates of the block, the one with all losses first.
    pub fn updates(&self) -> Vec<Update> {
        let every: Vec<u64> = self.losses.iter().map(|l| l.every.max(1)).collect();
        Update::all(&every, self.accumulate, !self.metrics.is_empty()).0
    }

    /// Is a loss due in the update that follows `step` others?
    pub fn due(&self, loss: usize, step: u64) -> bool {
        step.is_multiple_of(self.losses[loss].every.max(1))
    }
}

impl Program {
    /// The entry that is a pass of a train block.
    pub fn pass(&self, train: usize, pass: &Pass) -> Option<&Entry> {
        let is =
            |k: &EntryKind| matches!(k, EntryKind::Pass { train: t, pass: p } if *t == train && p == pass);
        self.entries.iter().find(|e| is(&e.kind))
    }

    /// The entries that an update calls on its last micro-batch, or on one before that; `None` where one of them is
    /// not there.
    pub fn calls(&self, train: usize, update: &Update, last: bool) -> Option<Vec<&Entry>> {
        let pass = |s: &Stage| self.pass(train, if last { &s.last } else { s.micro.as_ref()? });
        update.stages.iter().map(pass).collect()
    }
}

/// The sets of losses that are due together, the full one (of step 0) first and then as they first occur, and
/// whether these are all.
///
/// A set that is due at some step is due at the least common multiple of its periods too, and there together with
/// nothing else; so those steps are all that need be looked at.
fn active_sets(every: &[u64]) -> (Vec<Vec<usize>>, bool) {
    let full: Vec<usize> = (0..every.len()).collect();
    let mut first: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let mut steps = vec![1];
    while let Some(step) = steps.pop() {
        if first.contains_key(&step) {
            continue;
        }
        first.insert(step, full.iter().copied().filter(|&k| step.is_multiple_of(every[k])).collect());
        if first.len() > Update::MAX {
            break;
        }
        // No run reaches a step beyond u64.
        steps.extend(every.iter().filter_map(|&n| lcm(step, n)));
    }
    let rest = first.into_values().filter(|set| set.len() < full.len()).collect::<Vec<_>>();
    let mut sets = vec![full];
    sets.extend(rest);
    let complete = sets.len() <= Update::MAX;
    sets.truncate(Update::MAX);
    (sets, complete)
}

fn lcm(a: u64, b: u64) -> Option<u64> {
    let (mut gcd, mut rest) = (a, b);
    while rest != 0 {
        (gcd, rest) = (rest, gcd % rest);
    }
    (a / gcd).checked_mul(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_losses_that_run_together() {
        let all = |every: &[u64]| active_sets(every).0;
        assert_eq!(all(&[1]), [vec![0]]);
        assert_eq!(all(&[1, 5]), [vec![0, 1], vec![0]]);
        assert_eq!(all(&[2, 3]), [vec![0, 1], vec![], vec![0], vec![1]]);
        // The first loss alone is due after two million steps.
        assert_eq!(all(&[2_000_000, 3]), [vec![0, 1], vec![], vec![1], vec![0]]);
        assert_eq!(all(&[u64::MAX, u64::MAX - 1]), [vec![0, 1], vec![], vec![1], vec![0]]);
        assert_eq!(all(&[]), [Vec::<usize>::new()]);
    }

    /// What is computed from periods is what counting finds.
    #[test]
    fn sets_are_those_of_all_steps() {
        for every in [vec![4, 6, 9], vec![2, 4, 8], vec![3, 3, 1], vec![2, 3, 5, 7]] {
            let mut counted: Vec<Vec<usize>> = vec![];
            for step in 0..every.iter().product::<u64>() {
                let set = (0..every.len()).filter(|&k| step.is_multiple_of(every[k])).collect();
                if !counted.contains(&set) {
                    counted.push(set);
                }
            }
            assert_eq!(active_sets(&every), (counted, true), "{every:?}");
        }
    }

    #[test]
    fn sets_beyond_the_limit_are_told() {
        let primes = [2, 3, 5, 7, 11, 13, 17];
        let (sets, complete) = active_sets(&primes);
        assert_eq!((sets.len(), complete), (Update::MAX, false));
        assert_eq!((active_sets(&primes[..6]).0.len(), active_sets(&primes[..6]).1), (64, true));
    }

    fn shown(updates: &[Update]) -> Vec<String> {
        let one = |p: &Pass| format!("{:?}{:?}{}", p.end, p.losses, if p.metrics { " metrics" } else { "" });
        Update::passes(updates).into_iter().map(one).collect()
    }

    #[test]
    fn passes_of_updates() {
        let passes = |every: &[u64], k, metrics| shown(&Update::all(every, k, metrics).0);
        assert_eq!(passes(&[1], 1, true), ["Step[0] metrics"]);
        assert_eq!(passes(&[1, 2], 1, true), ["Step[0, 1] metrics", "Step[0] metrics"]);
        assert_eq!(passes(&[1], 4, false), ["Step[0]", "Micro[0]"]);
        assert_eq!(passes(&[2], 4, false), ["Step[0]", "Step[]", "Micro[0]", "Micro[]"]);
        let two = ["Update[0]", "Step[1]", "Micro[0]", "Micro[1]"];
        assert_eq!(passes(&[1, 1], 4, false), two);
        let two = [
            "Update[0] metrics",
            "Step[1]",
            "Step[1] metrics",
            "Micro[0] metrics",
            "Micro[1]",
            "Micro[1] metrics",
        ];
        assert_eq!(passes(&[2, 1], 4, true), two);
    }
}
