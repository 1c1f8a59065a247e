//! Bytes alive in each call, changed by ranges: a segment tree with range addition and the maximum.

/// Values over the moments `0..len`.
#[derive(Debug, Clone)]
pub struct Profile {
    size: usize,
    /// The maximum of each subtree, without what was added to its ancestors.
    most: Vec<i128>,
    /// What was added to each subtree as a whole.
    added: Vec<i128>,
}

impl Profile {
    pub fn new(values: &[u64]) -> Profile {
        let size = values.len().max(1).next_power_of_two();
        let mut most = vec![i128::MIN / 4; 2 * size];
        for (i, &v) in values.iter().enumerate() {
            most[size + i] = i128::from(v);
        }
        for i in (1..size).rev() {
            most[i] = most[2 * i].max(most[2 * i + 1]);
        }
        Profile { size, most, added: vec![0; 2 * size] }
    }

    /// Adds to every moment from `first` to `last`, both inclusive.
    pub fn add(&mut self, first: u32, last: u32, bytes: i128) {
        if first <= last {
            self.add_below(1, 0, self.size, (first as usize, last as usize + 1), bytes);
        }
    }

    fn add_below(&mut self, node: usize, lo: usize, hi: usize, range: (usize, usize), bytes: i128) {
        if range.0 >= hi || range.1 <= lo {
            return;
        }
        if range.0 <= lo && hi <= range.1 {
            self.most[node] += bytes;
            self.added[node] += bytes;
            return;
        }
        let mid = usize::midpoint(lo, hi);
        self.add_below(2 * node, lo, mid, range, bytes);
        self.add_below(2 * node + 1, mid, hi, range, bytes);
        self.most[node] = self.most[2 * node].max(self.most[2 * node + 1]) + self.added[node];
    }

    pub fn max(&self) -> i128 {
        self.most[1]
    }

    /// The first moment of the maximum.
    pub fn argmax(&self) -> u32 {
        let mut node = 1;
        while node < self.size {
            let left = self.most[2 * node] >= self.most[2 * node + 1];
            node = 2 * node + usize::from(!left);
        }
        (node - self.size) as u32
    }

    pub fn at(&self, moment: u32) -> i128 {
        let mut node = self.size + moment as usize;
        let mut value = self.most[node];
        while node > 1 {
            node /= 2;
            value += self.added[node];
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use mlc_ir::testing::Rng;

    use super::*;

    #[test]
    fn as_a_plain_list() {
        for seed in 0..40 {
            let mut rng = Rng(seed);
            let n = 1 + rng.below(40);
            let values: Vec<u64> = (0..n).map(|_| rng.below(100) as u64).collect();
            let mut list: Vec<i128> = values.iter().map(|&v| i128::from(v)).collect();
            let mut tree = Profile::new(&values);
            for _ in 0..50 {
                let (a, b) = (rng.below(n), rng.below(n));
                let (first, last, bytes) = (a.min(b), a.max(b), rng.below(200) as i128 - 100);
                tree.add(first as u32, last as u32, bytes);
                list[first..=last].iter_mut().for_each(|v| *v += bytes);
                let most = *list.iter().max().unwrap();
                assert_eq!(tree.max(), most, "seed {seed}");
                assert_eq!(tree.argmax() as usize, list.iter().position(|&v| v == most).unwrap());
                assert_eq!(tree.at(a as u32), list[a]);
            }
        }
    }
}
