//! Random words: Philox on vectors of counters.
//!
//! One counter gives four words, those of four consecutive indices. So a tile takes a quarter as many counters as it
//! has elements; each lane has a counter, and its four words are stored one after another.

use mlc_ir::loops::functions::philox;

use super::{Lanes, Two};

/// `dst[i] = philox(seed, first + i, site, iteration)` for `i < n`; `first + i` wraps.
pub type RandomFn =
    unsafe extern "C" fn(dst: *mut u32, n: u64, seed: u64, first: u64, site: u32, iteration: u32);

/// The most lanes that take counters at once.
const MAX_LANES: usize = 32;

/// # Safety
/// As [`RandomFn`]; the machine has the vectors' instruction set.
#[inline(always)]
pub unsafe fn words<L: Lanes>(lanes: L, dst: *mut u32, n: u64, seed: u64, first: u64, rest: [u32; 2]) {
    // Words of the first counter that nobody asks for.
    let skip = (first % 4) as usize;
    let n = skip + n as usize;
    let mut at = 0;
    while at < n {
        let counter = first / 4 + at as u64 / 4;
        let part = Part { dst, skip, at, n };
        // SAFETY: the caller's promise.
        unsafe {
            if n - at > 4 * L::COUNT {
                group(Two(lanes), part, seed, counter, rest);
                at += 8 * L::COUNT;
            } else {
                group(lanes, part, seed, counter, rest);
                at += 4 * L::COUNT;
            }
        }
    }
}

/// Where the words of a group go: from word `at` on, of which those in `skip..n` are stored, the first at `dst`.
#[derive(Clone, Copy)]
struct Part {
    dst: *mut u32,
    skip: usize,
    at: usize,
    n: usize,
}

/// The words of as many counters as there are lanes.
///
/// # Safety
/// There are `n - skip` elements at `dst`; the machine has the vectors' instruction set.
#[inline(always)]
unsafe fn group<L: Lanes>(lanes: L, part: Part, seed: u64, first: u64, rest: [u32; 2]) {
    let mut lanes = lanes;
    let (mut low, mut high) = ([0u32; MAX_LANES], [0u32; MAX_LANES]);
    for (i, (low, high)) in low.iter_mut().zip(&mut high).enumerate().take(L::COUNT) {
        // A counter is a quarter of an index.
        let counter = (first + i as u64) & (u64::MAX / 4);
        (*low, *high) = (counter as u32, (counter >> 32) as u32);
    }
    let Part { dst, skip, at, n } = part;
    let end = at + 4 * L::COUNT;
    // SAFETY: the arrays have a group's length; what is stored at `dst` is in `skip..n`.
    unsafe {
        let low = lanes.load(low.as_ptr().cast());
        let high = lanes.load(high.as_ptr().cast());
        let counter =
            [lanes.to_bits(low), lanes.to_bits(high), lanes.bits(rest[0].into()), lanes.bits(rest[1].into())];
        let key = [lanes.bits(seed & 0xffff_ffff), lanes.bits(seed >> 32)];
        let [a, b, c, d] = philox(&mut lanes, key, counter);
        let words = [lanes.of_bits(a), lanes.of_bits(b), lanes.of_bits(c), lanes.of_bits(d)];
        if at >= skip && end <= n {
            lanes.store_by_lane(words, dst.add(at - skip).cast());
        } else {
            let mut all = [0u32; 4 * MAX_LANES];
            lanes.store_by_lane(words, all.as_mut_ptr().cast());
            let (from, to) = (at.max(skip), end.min(n));
            std::ptr::copy_nonoverlapping(all.as_ptr().add(from - at), dst.add(from - skip), to - from);
        }
    }
}
