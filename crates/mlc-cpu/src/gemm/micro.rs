//! The innermost product: a tile of accumulators over one chunk of k, for each element type and level.

use crate::features::Level;

/// Elements of the largest tile.
pub const MAX_TILE: usize = 12 * 32;

/// A tile of `mr` x `nr` outputs.
#[derive(Clone, Copy)]
pub struct Tile<T> {
    pub mr: usize,
    pub nr: usize,
    /// `run(kc, a, b, acc)`: `acc[i * nr + j] = fma(a[p * mr + i], b[p * nr + j], ..)` over p ascending from +0.
    pub run: unsafe fn(usize, *const T, *const T, *mut T),
}

/// An element type of contractions.
pub trait Element: Copy {
    const ZERO: Self;

    /// `self * b + c`: one rounding for floats, wrapping for integers.
    fn fma(self, b: Self, c: Self) -> Self;

    fn plus(self, b: Self) -> Self;

    /// The tile for a level that the machine has.
    fn tile(_level: Level) -> Tile<Self> {
        Tile { mr: 4, nr: 8, run: plain::<Self, 4, 8> }
    }
}

/// # Safety
/// The panels hold kc groups; `acc` has room for the tile.
unsafe fn plain<T: Element, const MR: usize, const NR: usize>(
    kc: usize,
    a: *const T,
    b: *const T,
    acc: *mut T,
) {
    let mut sums = [[T::ZERO; NR]; MR];
    for p in 0..kc {
        // SAFETY: the caller's promise.
        let (a, b) = unsafe { (&*a.add(p * MR).cast::<[T; MR]>(), &*b.add(p * NR).cast::<[T; NR]>()) };
        for (row, &x) in sums.iter_mut().zip(a) {
            for (c, &y) in row.iter_mut().zip(b) {
                *c = x.fma(y, *c);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { acc.cast::<[[T; NR]; MR]>().write_unaligned(sums) }
}

macro_rules! ints {
    ($($t:ty)*) => {$(
        impl Element for $t {
            const ZERO: Self = 0;

            fn fma(self, b: Self, c: Self) -> Self {
                self.wrapping_mul(b).wrapping_add(c)
            }

            fn plus(self, b: Self) -> Self {
                self.wrapping_add(b)
            }
        }
    )*};
}
ints!(i64 i32 i16 i8 u8 u32 u64);

impl Element for f32 {
    const ZERO: f32 = 0.0;

    fn fma(self, b: f32, c: f32) -> f32 {
        self.mul_add(b, c)
    }

    fn plus(self, b: f32) -> f32 {
        self + b
    }

    #[cfg(target_arch = "x86_64")]
    fn tile(level: Level) -> Tile<f32> {
        match level {
            Level::Avx512 => Tile { mr: 12, nr: 32, run: x86::f32_avx512 },
            Level::Avx2 => Tile { mr: 6, nr: 16, run: x86::f32_avx2 },
            Level::Portable => Tile { mr: 4, nr: 8, run: plain::<f32, 4, 8> },
        }
    }
}

impl Element for f64 {
    const ZERO: f64 = 0.0;

    fn fma(self, b: f64, c: f64) -> f64 {
        self.mul_add(b, c)
    }

    fn plus(self, b: f64) -> f64 {
        self + b
    }

    #[cfg(target_arch = "x86_64")]
    fn tile(level: Level) -> Tile<f64> {
        match level {
            Level::Avx512 => Tile { mr: 12, nr: 16, run: x86::f64_avx512 },
            Level::Avx2 => Tile { mr: 6, nr: 8, run: x86::f64_avx2 },
            Level::Portable => Tile { mr: 4, nr: 8, run: plain::<f64, 4, 8> },
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// `$rows` rows of two vectors of `$lanes` elements.
    macro_rules! tile {
        ($name:ident, $t:ty, $features:literal, $rows:literal, $lanes:literal,
         $zero:ident, $load:ident, $set:ident, $fma:ident, $store:ident) => {
            /// # Safety
            /// The machine has the features, the panels hold kc groups, `acc` has room for the tile.
            #[target_feature(enable = $features)]
            pub unsafe fn $name(kc: usize, a: *const $t, b: *const $t, acc: *mut $t) {
                let mut sums = [[$zero(); 2]; $rows];
                // SAFETY: the caller's promise.
                unsafe {
                    for p in 0..kc {
                        let y = [$load(b.add(p * 2 * $lanes)), $load(b.add(p * 2 * $lanes + $lanes))];
                        for (i, row) in sums.iter_mut().enumerate() {
                            let x = $set(*a.add(p * $rows + i));
                            row[0] = $fma(x, y[0], row[0]);
                            row[1] = $fma(x, y[1], row[1]);
                        }
                    }
                    for (i, row) in sums.iter().enumerate() {
                        $store(acc.add(i * 2 * $lanes), row[0]);
                        $store(acc.add(i * 2 * $lanes + $lanes), row[1]);
                    }
                }
            }
        };
    }

    tile!(
        f32_avx2,
        f32,
        "avx2,fma",
        6,
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_storeu_ps
    );
    tile!(
        f64_avx2,
        f64,
        "avx2,fma",
        6,
        4,
        _mm256_setzero_pd,
        _mm256_loadu_pd,
        _mm256_set1_pd,
        _mm256_fmadd_pd,
        _mm256_storeu_pd
    );
    tile!(
        f32_avx512,
        f32,
        "avx512f",
        12,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_storeu_ps
    );
    tile!(
        f64_avx512,
        f64,
        "avx512f",
        12,
        8,
        _mm512_setzero_pd,
        _mm512_loadu_pd,
        _mm512_set1_pd,
        _mm512_fmadd_pd,
        _mm512_storeu_pd
    );
}
