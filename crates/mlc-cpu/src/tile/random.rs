//! Random bits of a tile: Philox words of consecutive indices.
//!
//! One evaluation gives four words, of four consecutive indices: a group of lanes evaluates as many counters, of
//! which all words are used.

use mlc_ir::loops::functions::philox;

use super::Lanes;

/// `dst[i] = philox(seed, index + i, site, iteration)` for `i < n`, as [`mlc_ir::loops::Func::Philox`] defines it.
pub type RandomFn =
    unsafe extern "C" fn(dst: *mut u32, n: u64, seed: u64, index: u64, site: u32, iteration: u32);

/// Words of one counter.
const WORDS: usize = 4;
/// Most lanes of a group.
const LANES: usize = 16;

/// # Safety
/// There is room for `n` words; the machine has the vectors' instruction set.
#[inline(always)]
pub unsafe fn random<L: Lanes>(
    lanes: L,
    dst: *mut u32,
    n: u64,
    seed: u64,
    index: u64,
    site: u32,
    iteration: u32,
) {
    let (mut a, n) = (lanes, n as usize);
    let key = [seed, seed >> 32].map(|half| a.bits(half & u64::from(u32::MAX)));
    let [site, iteration] = [site, iteration].map(|word| a.bits(word.into()));
    // Words before the first that is asked for.
    let skip = (index % WORDS as u64) as usize;
    let (mut counter, mut done) = (index / WORDS as u64, 0);
    while done < n {
        // Indices go round, and with them what they are divided by.
        let round = |c: u64| c & (u64::MAX / WORDS as u64);
        let counters: [u64; LANES] = std::array::from_fn(|i| round(counter + i as u64));
        let [low, high] = [0, 32].map(|shift| counters.map(|c| (c >> shift) as u32));
        let mut words = [[0u32; LANES]; WORDS];
        // SAFETY: a group has at most as many lanes as the arrays.
        unsafe {
            let [low, high] = [low, high].map(|half| {
                let half = a.load(half.as_ptr().cast());
                a.to_bits(half)
            });
            let out = philox(&mut a, key, [low, high, site, iteration]);
            for (word, to) in out.into_iter().zip(&mut words) {
                let word = a.of_bits(word);
                a.store(word, to.as_mut_ptr().cast());
            }
        }
        let mut in_order = [0u32; WORDS * LANES];
        for i in 0..L::COUNT {
            for (w, word) in words.iter().enumerate() {
                in_order[WORDS * i + w] = word[i];
            }
        }
        let from = if done == 0 { skip } else { 0 };
        let count = (WORDS * L::COUNT - from).min(n - done);
        // SAFETY: `count` words are left of the group, and room for as many.
        unsafe { std::ptr::copy_nonoverlapping(in_order.as_ptr().add(from), dst.add(done), count) };
        done += count;
        counter += L::COUNT as u64;
    }
}

#[cfg(test)]
mod tests {
    use mlc_ir::loops::functions::philox_word;

    use crate::features::CpuFeatures;
    use crate::tile::{self, TILE};

    /// Starts at each word of a counter, where the counter's low half overflows, and where the index itself does.
    #[test]
    fn words_are_the_scalar_expansions() {
        let seed = 0x1234_5678_9abc_def0;
        let starts = (0..9).chain([(1 << 34) - 70, u64::MAX - 3, u64::MAX - 100, 1 << 63]);
        for start in starts {
            for n in [1, 2, 3, 4, 5, 31, 32, 33, 63, 64, 65, 200, TILE] {
                let word = |i: usize| philox_word(seed, start.wrapping_add(i as u64), 7, u32::MAX);
                let want: Vec<u32> = (0..n).map(word).collect();
                for cpu in CpuFeatures::available() {
                    let Some(code) = tile::random(cpu.level) else { continue };
                    let mut got = vec![u32::MAX; n + 1];
                    // SAFETY: the level is the machine's; there is room for n words.
                    unsafe { code(got.as_mut_ptr(), n as u64, seed, start, 7, u32::MAX) };
                    assert_eq!(got.pop(), Some(u32::MAX), "{cpu} {start} {n}");
                    assert_eq!(got, want, "{cpu} {start} {n}");
                }
            }
        }
    }
}
