//! Static offsets for blocks of memory with known lifetimes.
//!
//! Largest blocks first, each at the lowest gap that is free during its whole life; two other orders are
//! tried and the smallest result kept. The lower bound is the most bytes alive at once.

/// A block to be placed: bytes, and the first and last moment it is alive, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub bytes: u64,
    pub first: u32,
    pub last: u32,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Packing {
    /// For each block.
    pub offsets: Vec<u64>,
    /// Bytes of the arena.
    pub peak: u64,
    /// No packing is smaller.
    pub lower_bound: u64,
}

/// Places blocks at multiples of `align` (a power of two).
pub fn pack(blocks: &[Block], align: u64) -> Packing {
    let rounded: Vec<Block> =
        blocks.iter().map(|b| Block { bytes: round_up(b.bytes, align), ..*b }).collect();
    let duration = |b: &Block| u128::from(b.last - b.first + 1);
    let bound = lower_bound(&rounded);
    let mut best: Option<Packing> = None;
    for strategy in 0..3 {
        let mut order: Vec<usize> = (0..rounded.len()).collect();
        match strategy {
            0 => order.sort_by_key(|&i| (std::cmp::Reverse(rounded[i].bytes), rounded[i].first)),
            1 => order.sort_by_key(|&i| {
                std::cmp::Reverse(u128::from(rounded[i].bytes).saturating_mul(duration(&rounded[i])))
            }),
            _ => order.sort_by_key(|&i| (rounded[i].first, std::cmp::Reverse(rounded[i].bytes))),
        }
        let (offsets, peak) = place(&rounded, &order);
        if best.as_ref().is_none_or(|b| peak < b.peak) {
            best = Some(Packing { offsets, peak, lower_bound: bound });
        }
        if peak == bound {
            break;
        }
    }
    best.unwrap_or_default()
}

/// The next multiple of `align`; sizes near the end of u64 stay there, and do not fit anywhere.
pub fn round_up(bytes: u64, align: u64) -> u64 {
    bytes.checked_next_multiple_of(align).unwrap_or(u64::MAX)
}

/// The most bytes alive at one moment.
fn lower_bound(blocks: &[Block]) -> u64 {
    let mut events: Vec<(u32, bool, u64)> = Vec::with_capacity(2 * blocks.len());
    for b in blocks {
        // `false` sorts first: at a moment, what ended before it goes before what starts comes.
        events.push((b.first, true, b.bytes));
        events.push((b.last + 1, false, b.bytes));
    }
    events.sort_unstable();
    let (mut live, mut most) = (0u64, 0u64);
    for (_, starts, bytes) in events {
        live = if starts { live.saturating_add(bytes) } else { live.saturating_sub(bytes) };
        most = most.max(live);
    }
    most
}

fn place(blocks: &[Block], order: &[usize]) -> (Vec<u64>, u64) {
    let moments = blocks.iter().map(|b| b.last as usize + 1).max().unwrap_or(0);
    let mut tree = Tree::new(moments);
    let mut offsets = vec![0; blocks.len()];
    let mut peak = 0;
    let mut around: Vec<(u64, u64)> = vec![];
    for &i in order {
        let b = &blocks[i];
        if b.bytes == 0 {
            continue;
        }
        around.clear();
        tree.overlapping(b.first, b.last, &mut |other| {
            around.push((offsets[other], blocks[other].bytes.saturating_add(offsets[other])));
        });
        around.sort_unstable();
        let mut at = 0;
        for &(start, end) in &around {
            if b.bytes.saturating_add(at) <= start {
                break;
            }
            at = at.max(end);
        }
        offsets[i] = at;
        peak = peak.max(b.bytes.saturating_add(at));
        tree.insert(b.first, b.last, i);
    }
    (offsets, peak)
}

/// A segment tree over moments: finds the blocks alive in a range. A block is kept at the O(log n) nodes that
/// cover its life; a query walks the nodes that meet its range and skips empty subtrees. A block may be
/// reported more than once.
struct Tree {
    size: usize,
    blocks: Vec<Vec<usize>>,
    /// Does the subtree hold any block?
    any: Vec<bool>,
}

impl Tree {
    fn new(moments: usize) -> Tree {
        let size = moments.max(1).next_power_of_two();
        Tree { size, blocks: vec![vec![]; 2 * size], any: vec![false; 2 * size] }
    }

    fn insert(&mut self, first: u32, last: u32, block: usize) {
        let (mut lo, mut hi) = (self.size + first as usize, self.size + last as usize + 1);
        while lo < hi {
            if lo & 1 == 1 {
                self.add(lo, block);
                lo += 1;
            }
            if hi & 1 == 1 {
                hi -= 1;
                self.add(hi, block);
            }
            (lo, hi) = (lo / 2, hi / 2);
        }
    }

    fn add(&mut self, node: usize, block: usize) {
        self.blocks[node].push(block);
        let mut up = node;
        while up > 0 && !self.any[up] {
            self.any[up] = true;
            up /= 2;
        }
    }

    fn overlapping(&self, first: u32, last: u32, f: &mut impl FnMut(usize)) {
        let mut work = vec![(1, 0, self.size)];
        while let Some((node, lo, hi)) = work.pop() {
            let misses = hi <= first as usize || lo > last as usize;
            if misses || !self.any[node] {
                continue;
            }
            self.blocks[node].iter().for_each(|&b| f(b));
            if hi - lo > 1 {
                let mid = usize::midpoint(lo, hi);
                work.push((2 * node, lo, mid));
                work.push((2 * node + 1, mid, hi));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small linear congruential generator: tests need no dependency for this.
    struct Lcg(u64);

    impl Lcg {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }
    }

    fn check(blocks: &[Block], p: &Packing, align: u64) {
        let mut by_start: Vec<usize> = (0..blocks.len()).collect();
        by_start.sort_by_key(|&i| blocks[i].first);
        let mut alive: Vec<usize> = vec![];
        for &i in &by_start {
            let b = &blocks[i];
            assert_eq!(p.offsets[i] % align, 0);
            assert!(p.offsets[i] + b.bytes <= p.peak);
            alive.retain(|&j| blocks[j].last >= b.first);
            for &j in &alive {
                let apart =
                    p.offsets[i] + b.bytes <= p.offsets[j] || p.offsets[j] + blocks[j].bytes <= p.offsets[i];
                assert!(apart || b.bytes == 0 || blocks[j].bytes == 0, "{b:?} and {:?}", blocks[j]);
            }
            alive.push(i);
        }
        assert!(p.peak >= p.lower_bound);
    }

    #[test]
    fn five_thousand_random_blocks() {
        for seed in 0..4 {
            let mut r = Lcg(seed);
            let blocks: Vec<Block> = (0..5000)
                .map(|_| {
                    let first = r.below(5000) as u32;
                    // Most temporaries die soon; some, like activations, live on.
                    let long = r.below(10) == 0;
                    let life = if long { r.below(2500) } else { r.below(12) };
                    let bytes = 4 << r.below(if long { 16 } else { 20 });
                    Block { bytes, first, last: first + life as u32 }
                })
                .collect();
            let p = pack(&blocks, 64);
            check(&blocks, &p, 64);
            assert!(
                p.peak as f64 <= 1.15 * p.lower_bound as f64,
                "seed {seed}: {} over {}",
                p.peak,
                p.lower_bound
            );
        }
    }

    #[test]
    fn nested_lives_pack_tightly() {
        // Like a forward and its backward: the first activation is the last to die.
        let blocks: Vec<Block> =
            (0..100).map(|i| Block { bytes: 1000 + i, first: i as u32, last: 200 - i as u32 }).collect();
        let p = pack(&blocks, 64);
        check(&blocks, &p, 64);
        assert_eq!(p.peak, p.lower_bound);
    }

    #[test]
    fn nothing_to_place() {
        assert_eq!(pack(&[], 64), Packing::default());
        let p = pack(&[Block { bytes: 0, first: 0, last: 3 }], 64);
        assert_eq!((p.peak, p.offsets.as_slice()), (0, &[0][..]));
    }
}
