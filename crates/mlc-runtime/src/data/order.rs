//! The order of shuffled samples. It is part of the language: a seed and an epoch give the same order
//! in every version of mlc and on every machine.
//!
//! The generator is ChaCha8 with the 32-byte key `seed (8 bytes, little-endian), epoch (8 bytes,
//! little-endian), "mlc.shuffle.v1\0\0"`, nonce and counter zero. Fisher and Yates' shuffle runs from the
//! end: for `i` from `n - 1` down to 1, elements `i` and `j` change places, `j` uniform in `0..=i`.
//! A number uniform in `0..m` is the upper half of the 128-bit product of the next 64 bits with `m`,
//! drawn again while the lower half is less than `2^64 mod m` (Lemire).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Sets `order` to a permutation of `0..n`.
pub fn shuffled(seed: u64, epoch: u64, n: u32, order: &mut Vec<u32>) {
    let mut rng = generator(seed, epoch, *b"mlc.shuffle.v1\0\0");
    order.clear();
    order.extend(0..n);
    for i in (1..order.len()).rev() {
        order.swap(i, below(&mut rng, i as u64 + 1) as usize);
    }
}

pub(super) fn generator(a: u64, b: u64, domain: [u8; 16]) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&a.to_le_bytes());
    key[8..16].copy_from_slice(&b.to_le_bytes());
    key[16..].copy_from_slice(&domain);
    ChaCha8Rng::from_seed(key)
}

/// Uniform in `0..m`; `m` is not 0.
pub(super) fn below(rng: &mut ChaCha8Rng, m: u64) -> u64 {
    let reject = m.wrapping_neg() % m;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(m);
        if product as u64 >= reject {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64, epoch: u64, n: u32) -> Vec<u32> {
        let mut order = vec![7; 3];
        shuffled(seed, epoch, n, &mut order);
        order
    }

    #[test]
    fn it_permutes() {
        for n in [0, 1, 2, 3, 1000] {
            let mut o = order(5, 3, n);
            o.sort_unstable();
            assert!(o.iter().copied().eq(0..n));
        }
    }

    #[test]
    fn seed_and_epoch_matter() {
        assert_eq!(order(1, 2, 100), order(1, 2, 100));
        assert_ne!(order(1, 2, 100), order(2, 1, 100));
        assert_ne!(order(1, 2, 100), order(1, 3, 100));
    }

    /// Every permutation of three comes up about as often: chi-square with 5 degrees of freedom.
    #[test]
    fn it_is_uniform() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry(order(0, epoch, 3)).or_insert(0f64) += 1.0;
        }
        let chi2: f64 = counts.values().map(|c| (c - 1000.0).powi(2) / 1000.0).sum();
        assert!(counts.len() == 6 && chi2 < 25.0, "{counts:?}");
    }

    /// The language's promise, from an implementation of its own in the fixtures' script.
    #[test]
    fn the_order_is_as_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/files/shuffled.json");
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for case in cases {
            let expected: Vec<u32> = serde_json::from_value(case["order"].clone()).unwrap();
            let (seed, epoch) = (case["seed"].as_u64().unwrap(), case["epoch"].as_u64().unwrap());
            assert_eq!(order(seed, epoch, expected.len() as u32), expected);
        }
    }
}
