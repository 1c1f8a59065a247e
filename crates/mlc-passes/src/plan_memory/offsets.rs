//! Static offsets for blocks of memory with known lifetimes.
//!
//! Three orders are tried, until one needs no more than the lower bound, and the smallest result is kept: by
//! time, each block in the tightest gap, as an allocator at run time would; by size, and by size times duration,
//! the largest first, each at the lowest gap that is free during its whole life. The lower bound is the most
//! bytes alive at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

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
    let bound = lower_bound(&rounded);
    let area = |b: &Block| u128::from(b.bytes) * u128::from(b.last - b.first + 1);
    let largest_first = |key: &dyn Fn(&Block) -> u128| {
        let mut order: Vec<usize> = (0..rounded.len()).collect();
        order.sort_by_key(|&i| (Reverse(key(&rounded[i])), rounded[i].first));
        lowest_gaps(&rounded, &order)
    };
    let strategies: [&dyn Fn() -> (Vec<u64>, u64); 3] =
        [&|| tightest_gaps(&rounded), &|| largest_first(&|b| b.bytes.into()), &|| largest_first(&area)];
    let mut best: Option<Packing> = None;
    for strategy in strategies {
        if best.as_ref().is_some_and(|b| b.peak == bound) {
            break;
        }
        let (offsets, peak) = strategy();
        if best.as_ref().is_none_or(|b| peak < b.peak) {
            best = Some(Packing { offsets, peak, lower_bound: bound });
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

/// In order of time, each block in the smallest gap that holds it, else at the top.
fn tightest_gaps(blocks: &[Block]) -> (Vec<u64>, u64) {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&i| (blocks[i].first, Reverse(blocks[i].bytes)));
    let mut offsets = vec![0; blocks.len()];
    let mut alive: BinaryHeap<Reverse<(u32, usize)>> = BinaryHeap::new();
    let mut gaps = Gaps::default();
    for i in order {
        let b = &blocks[i];
        while let Some(&Reverse((last, j))) = alive.peek()
            && last < b.first
        {
            alive.pop();
            gaps.free(offsets[j], offsets[j].saturating_add(blocks[j].bytes));
        }
        if b.bytes > 0 {
            offsets[i] = gaps.take(b.bytes);
            alive.push(Reverse((b.last, i)));
        }
    }
    (offsets, gaps.top)
}

/// Free ranges below the top.
#[derive(Default)]
struct Gaps {
    /// Start to end; no two touch.
    free: BTreeMap<u64, u64>,
    top: u64,
}

impl Gaps {
    fn take(&mut self, bytes: u64) -> u64 {
        let fits = self.free.iter().filter(|(start, end)| *end - *start >= bytes);
        let (start, end) = match fits.min_by_key(|(start, end)| *end - *start) {
            Some((&start, &end)) => (start, end),
            // What is free at the very top is the beginning of new room.
            None => match self.free.last_key_value() {
                Some((&start, &end)) if end == self.top => (start, start.saturating_add(bytes)),
                _ => (self.top, self.top.saturating_add(bytes)),
            },
        };
        self.free.remove(&start);
        self.top = self.top.max(end);
        if end - start > bytes {
            self.free.insert(start + bytes, end);
        }
        start
    }

    fn free(&mut self, mut start: u64, mut end: u64) {
        if let Some((&s, &e)) = self.free.range(..start).next_back()
            && e == start
        {
            self.free.remove(&s);
            start = s;
        }
        if let Some(e) = self.free.remove(&end) {
            end = e;
        }
        self.free.insert(start, end);
    }
}

/// Places blocks in this order, each at the lowest offset that is free during its whole life. What is placed is
/// kept by offset, so that a walk from below meets the gaps in order and ends at the first that is wide enough.
fn lowest_gaps(blocks: &[Block], order: &[usize]) -> (Vec<u64>, u64) {
    struct Placed {
        offset: u64,
        end: u64,
        first: u32,
        last: u32,
    }
    let mut placed: Vec<Placed> = Vec::with_capacity(blocks.len());
    let mut offsets = vec![0; blocks.len()];
    let mut peak = 0;
    for &i in order {
        let b = &blocks[i];
        if b.bytes == 0 {
            continue;
        }
        let mut at = 0u64;
        for p in placed.iter().filter(|p| p.first <= b.last && b.first <= p.last) {
            if at.saturating_add(b.bytes) <= p.offset {
                break;
            }
            at = at.max(p.end);
        }
        let end = at.saturating_add(b.bytes);
        (offsets[i], peak) = (at, peak.max(end));
        let position = placed.partition_point(|p| p.offset < at);
        placed.insert(position, Placed { offset: at, end, first: b.first, last: b.last });
    }
    (offsets, peak)
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

    /// Lives and sizes of several kinds: mostly short, uniform, nested, of few sizes, growing.
    fn random_blocks(kind: u64, n: u64, r: &mut Lcg) -> Vec<Block> {
        let block = |i: u64, r: &mut Lcg| {
            let first = r.below(n);
            let long = r.below(10) == 0;
            let (first, life, bytes) = match kind {
                // Most temporaries die soon; some, like activations, live on.
                0 => {
                    let life = if long { r.below(n / 2) } else { r.below(12) };
                    (first, life, 4 << r.below(if long { 16 } else { 20 }))
                }
                1 => (first, r.below(n / 3), 1 + r.below(1 << 16)),
                2 => (i, 2 * (n - i) + r.below(3), 64 * (1 + r.below(64))),
                3 => (first, r.below(40), [256, 4096, 65536][r.below(3) as usize]),
                _ => (first, r.below(20), 64 + 16 * first),
            };
            Block { bytes, first: first as u32, last: (first + life) as u32 }
        };
        (0..n).map(|i| block(i, r)).collect()
    }

    #[test]
    fn random_blocks_pack_near_the_lower_bound() {
        for seed in 0..60 {
            let mut r = Lcg(seed);
            let n = if seed < 5 { 5000 } else { 30 + r.below(400) };
            let blocks = random_blocks(seed % 5, n, &mut r);
            let p = pack(&blocks, 64);
            check(&blocks, &p, 64);
            let (peak, bound) = (p.peak as f64, p.lower_bound as f64);
            assert!(peak <= 1.15 * bound, "seed {seed}, {n} blocks: {peak} over {bound}");
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
