//! The graph of steps with a topological order that is kept while edges are added.
//!
//! An edge that goes against the order moves only the steps between its ends that depend on them (Pearce and Kelly
//! 2007), so that the hazards of thousands of states cost no more than what they touch.

use super::steps::{Step, Steps};

/// Searches for a path give up after this many steps, and say there is one.
const SEARCH_LIMIT: usize = 4096;

#[derive(Debug, Default)]
pub struct Order {
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    /// A topological number of each step.
    positions: Vec<usize>,
    /// The last search that saw each step.
    seen: Vec<u32>,
    search: u32,
}

impl Order {
    /// Of steps that are in an order that respects their edges.
    pub fn of(steps: &Steps) -> Order {
        let mut order = Order::default();
        steps.list.iter().for_each(|s| order.push(s));
        order
    }

    /// Adds a step behind all others.
    pub fn push(&mut self, step: &Step) {
        let i = self.positions.len();
        let before: Vec<usize> = step.deps.iter().chain(&step.hazards).copied().collect();
        self.after.push(vec![]);
        before.iter().for_each(|&b| self.after[b].push(i));
        self.before.push(before);
        self.positions.push(i);
        self.seen.push(0);
    }

    /// Does a path lead from `from` to any of `to`?
    pub fn reaches(&mut self, from: usize, to: &[usize]) -> bool {
        let Some(last) = to.iter().map(|&t| self.positions[t]).max() else { return false };
        if last < self.positions[from] {
            return false;
        }
        self.search += 1;
        let mut work = vec![from];
        let mut visited = 0;
        while let Some(i) = work.pop() {
            visited += 1;
            if visited > SEARCH_LIMIT || (i != from && to.contains(&i)) {
                return true;
            }
            for &s in &self.after[i] {
                if self.positions[s] <= last && self.seen[s] != self.search {
                    self.seen[s] = self.search;
                    work.push(s);
                }
            }
        }
        false
    }

    /// Adds an edge that closes no cycle.
    pub fn add(&mut self, first: usize, then: usize) {
        self.after[first].push(then);
        self.before[then].push(first);
        let (low, high) = (self.positions[then], self.positions[first]);
        if high < low {
            return;
        }
        let mut early = self.within(first, low..=high, |order| &order.before);
        let late = self.within(then, low..=high, |order| &order.after);
        early.extend(late);
        let mut places: Vec<usize> = early.iter().map(|&s| self.positions[s]).collect();
        places.sort_unstable();
        early.iter().zip(places).for_each(|(&s, place)| self.positions[s] = place);
    }

    /// The steps in a range of places that edges lead to from a step, in order.
    fn within(
        &mut self,
        from: usize,
        range: std::ops::RangeInclusive<usize>,
        edges: fn(&Order) -> &Vec<Vec<usize>>,
    ) -> Vec<usize> {
        self.search += 1;
        self.seen[from] = self.search;
        let (mut out, mut at) = (vec![from], 0);
        while at < out.len() {
            for i in 0..edges(self)[out[at]].len() {
                let s = edges(self)[out[at]][i];
                if range.contains(&self.positions[s]) && self.seen[s] != self.search {
                    self.seen[s] = self.search;
                    out.push(s);
                }
            }
            at += 1;
        }
        out.sort_unstable_by_key(|&s| self.positions[s]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps without edges.
    fn free(n: usize) -> Order {
        let empty = || vec![vec![]; n];
        Order { before: empty(), after: empty(), positions: (0..n).collect(), seen: vec![0; n], search: 0 }
    }

    #[test]
    fn every_edge_is_respected_and_cycles_are_seen() {
        for seed in 1..60u64 {
            let mut state = seed;
            let mut below = |n: u64| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((state >> 33) % n) as usize
            };
            let n = 2 + below(20);
            let mut order = free(n);
            let mut edges: Vec<(usize, usize)> = vec![];
            for _ in 0..4 * n {
                let (a, b) = (below(n as u64), below(n as u64));
                // By closing the relation, as slowly as that goes.
                let mut reached = vec![b];
                while let Some(next) = edges.iter().find(|(x, y)| reached.contains(x) && !reached.contains(y))
                {
                    reached.push(next.1);
                }
                if a == b {
                    continue;
                }
                assert_eq!(order.reaches(b, &[a]), reached.contains(&a), "seed {seed}");
                if !reached.contains(&a) {
                    order.add(a, b);
                    edges.push((a, b));
                }
                assert!(edges.iter().all(|&(x, y)| order.positions[x] < order.positions[y]), "seed {seed}");
            }
        }
    }
}
