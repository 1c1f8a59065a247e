//! Vectors of AVX2 and AVX-512, and tiles of them.

use std::arch::x86_64::*;

use super::lanes::{Lanes, prefetch};
use super::micro::Step;

macro_rules! vector {
    ($(#[$m:meta])* $name:ident = [$t:ty; $n:literal] in $v:ty,
     $zero:ident $set:ident $load:ident $store:ident $fma:ident $add:ident) => {
        $(#[$m])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name($v);

        impl Lanes for $name {
            type T = $t;
            const N: usize = $n;

            #[inline(always)]
            unsafe fn zero() -> Self {
                // SAFETY: the caller's promise.
                unsafe { $name($zero()) }
            }

            #[inline(always)]
            unsafe fn splat(from: *const $t) -> Self {
                // SAFETY: the caller's promise.
                unsafe { $name($set(*from)) }
            }

            #[inline(always)]
            unsafe fn load(from: *const $t) -> Self {
                // SAFETY: the caller's promise.
                unsafe { $name($load(from)) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $t) {
                // SAFETY: the caller's promise.
                unsafe { $store(to, self.0) }
            }

            #[inline(always)]
            unsafe fn fma(self, b: Self, c: Self) -> Self {
                // SAFETY: the caller's promise.
                unsafe { $name($fma(self.0, b.0, c.0)) }
            }

            #[inline(always)]
            unsafe fn plus(self, b: Self) -> Self {
                // SAFETY: the caller's promise.
                unsafe { $name($add(self.0, b.0)) }
            }
        }
    };
}

vector!(F32x8 = [f32; 8] in __m256,
    _mm256_setzero_ps _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_fmadd_ps _mm256_add_ps);
vector!(F64x4 = [f64; 4] in __m256d,
    _mm256_setzero_pd _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_fmadd_pd _mm256_add_pd);
vector!(F32x16 = [f32; 16] in __m512,
    _mm512_setzero_ps _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_fmadd_ps _mm512_add_ps);
vector!(F64x8 = [f64; 8] in __m512d,
    _mm512_setzero_pd _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_fmadd_pd _mm512_add_pd);

/// The micro-kernels [`turned`] of vectors of eight, one at a time, and several.
macro_rules! turned {
    () => {
        [turned!(1), turned!(4)]
    };
    ($g:literal) => {
        &[[turned::<1, $g, false>, turned::<1, $g, true>], [turned::<2, $g, false>, turned::<2, $g, true>]]
    };
}

/// Tiles of one element type. 16 vector registers hold 6 rows of 2 vectors (12 sums, 2 vectors, a broadcast);
/// 32 hold 6 of 4, which loads least for each sum; with few rows as many sums stand side by side.
macro_rules! tiles {
    ($t:ident, $half:ty, $full:ty, $transpose:path, $turned:expr) => {
        pub mod $t {
            use super::super::micro::{Micro, shape};
            use super::*;

            pub fn avx2() -> Micro<$t> {
                Micro {
                    tall: shape!($half, 2, [1 2 3 4 5 6], "avx2,fma"),
                    wide: shape!($half, 4, [1 2 3], "avx2,fma"),
                    turned: $turned,
                    transpose: $transpose,
                }
            }

            pub fn avx512() -> Micro<$t> {
                Micro {
                    tall: shape!($full, 4, [1 2 3 4 5 6], "avx512f"),
                    wide: shape!($full, 8, [1 2 3], "avx512f"),
                    turned: $turned,
                    transpose: $transpose,
                }
            }
        }
    };
}
tiles!(f32, F32x8, F32x16, super::transpose_f32, turned!());
tiles!(f64, F64x4, F64x8, super::transpose_f64, [&[], &[]]);

/// How many steps of k ahead [`turned`] asks for memory: two lines of each of eight rows hide the way to it.
const TURNED_AHEAD: usize = 64;

/// Lanes lie contiguous along k: blocks of eight by eight are transposed in registers, two to a line of memory. `G`
/// groups of eight lanes go side by side: one sum of each row waits for its multiply-add, several do not.
///
/// # Safety
/// As [`super::micro::TileFn`] with AVX2 and FMA, lanes as [`super::micro::Micro::turned`] says.
#[target_feature(enable = "avx2,fma")]
unsafe fn turned<const R: usize, const G: usize, const ALONG_K: bool>(s: &Step<f32>) {
    let (row, col) = if ALONG_K { (s.row_stride, 1) } else { (1, s.row_stride) };
    let full = s.kc / 8 * 8;
    // SAFETY: blocks lie within the lanes and kc; the caller's promise for the rest.
    unsafe {
        let x =
            |r: usize, p: usize| _mm256_broadcast_ss(&*s.rows.offset(r as isize * row + p as isize * col));
        let eight = |c: usize| s.lanes.wrapping_offset(8 * c as isize * s.lane_stride);
        // Few rows at a time for all of k: few streams of memory, and lines that often share a set of the first cache.
        for c in (0..s.lane_count / 8).step_by(G) {
            let lanes: [_; G] = std::array::from_fn(|g| eight(c + g));
            // What comes after these: the next eight, or the first of the next chunk of k.
            let after = if 8 * (c + G) < s.lane_count { eight(c + G) } else { eight(0).wrapping_add(s.kc) };
            let mut sums = [[_mm256_setzero_ps(); R]; G];
            for p in (0..full).step_by(16) {
                // Of several groups, the caches hold what comes.
                if G == 1 {
                    let ahead = p + TURNED_AHEAD;
                    let ahead = if ahead < s.kc {
                        lanes[0].wrapping_add(ahead)
                    } else {
                        after.wrapping_add(ahead - s.kc)
                    };
                    for l in 0..8 {
                        prefetch(ahead.wrapping_offset(l * s.lane_stride));
                    }
                }
                for q in (p..full.min(p + 16)).step_by(4) {
                    let x: [[_; 4]; R] = std::array::from_fn(|r| std::array::from_fn(|i| x(r, q + i)));
                    for (sums, lanes) in sums.iter_mut().zip(lanes) {
                        for (i, y) in columns(lanes.add(q), s.lane_stride).into_iter().enumerate() {
                            for (x, sum) in x.iter().zip(sums.iter_mut()) {
                                *sum = _mm256_fmadd_ps(x[i], y, *sum);
                            }
                        }
                    }
                }
            }
            for p in full..s.kc {
                for (sums, lanes) in sums.iter_mut().zip(lanes) {
                    let lane = |l: usize| *lanes.offset(l as isize * s.lane_stride).add(p);
                    let y = std::array::from_fn::<f32, 8, _>(lane);
                    let y = _mm256_loadu_ps(y.as_ptr());
                    for (r, sum) in sums.iter_mut().enumerate() {
                        *sum = _mm256_fmadd_ps(x(r, p), y, *sum);
                    }
                }
            }
            for (g, sums) in sums.into_iter().enumerate() {
                for (r, sum) in sums.into_iter().enumerate() {
                    let out = s.out.offset(r as isize * s.out_stride).add(8 * (c + g));
                    let sum = if s.first { sum } else { _mm256_add_ps(_mm256_loadu_ps(out), sum) };
                    _mm256_storeu_ps(out, sum);
                }
            }
        }
    }
}

/// Blocks of eight rows by a cache line (two blocks of eight columns), so that each line is read at once.
///
/// # Safety
/// As [`super::micro::TransposeFn`] with AVX2.
#[target_feature(enable = "avx2")]
unsafe fn transpose_f32(from: *const f32, stride: isize, rows: usize, kc: usize, to: *mut f32, width: usize) {
    // SAFETY: blocks lie within rows and kc; the caller's promise for the rest.
    unsafe {
        let (full_rows, full_k) = (rows / 8 * 8, kc / 8 * 8);
        for p in (0..full_k).step_by(16) {
            for r in (0..full_rows).step_by(8) {
                for q in (p..full_k.min(p + 16)).step_by(8) {
                    block_f32(from.offset(r as isize * stride).add(q), stride, to.add(q * width + r), width);
                }
            }
        }
        rest(from, stride, [rows, full_rows], [kc, full_k], to, width);
    }
}

/// # Safety
/// As [`super::micro::TransposeFn`] with AVX2.
#[target_feature(enable = "avx2")]
unsafe fn transpose_f64(from: *const f64, stride: isize, rows: usize, kc: usize, to: *mut f64, width: usize) {
    // SAFETY: blocks lie within rows and kc; the caller's promise for the rest.
    unsafe {
        let (full_rows, full_k) = (rows / 4 * 4, kc / 4 * 4);
        for p in (0..full_k).step_by(8) {
            for r in (0..full_rows).step_by(4) {
                for q in (p..full_k.min(p + 8)).step_by(4) {
                    block_f64(from.offset(r as isize * stride).add(q), stride, to.add(q * width + r), width);
                }
            }
        }
        rest(from, stride, [rows, full_rows], [kc, full_k], to, width);
    }
}

/// What whole blocks leave: the last columns of their rows, and the rows after them.
///
/// # Safety
/// As [`super::micro::TransposeFn`].
#[inline(always)]
unsafe fn rest<T: Copy>(
    from: *const T,
    stride: isize,
    [rows, full_rows]: [usize; 2],
    [kc, full_k]: [usize; 2],
    to: *mut T,
    width: usize,
) {
    use super::micro::transpose;
    // SAFETY: the caller's promise.
    unsafe {
        transpose(from.add(full_k), stride, full_rows, kc - full_k, to.add(full_k * width), width);
        let last = from.offset(full_rows as isize * stride);
        transpose(last, stride, rows - full_rows, kc, to.add(full_rows), width);
    }
}

/// Eight by eight.
#[target_feature(enable = "avx2")]
unsafe fn block_f32(from: *const f32, stride: isize, to: *mut f32, width: usize) {
    // SAFETY: the caller has eight rows of eight elements on both sides.
    unsafe {
        for h in 0..2 {
            for (i, column) in columns(from.add(4 * h), stride).into_iter().enumerate() {
                _mm256_storeu_ps(to.add((4 * h + i) * width), column);
            }
        }
    }
}

/// Four columns of eight rows. The halves of a loaded vector are rows r and r + 4, so that none need be exchanged.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn columns(from: *const f32, stride: isize) -> [__m256; 4] {
    // SAFETY: the caller has eight rows of four elements.
    unsafe {
        let half = |r: isize| _mm_loadu_ps(from.offset(r * stride));
        let pair = |r: isize| _mm256_set_m128(half(r + 4), half(r));
        let [a, b, c, d] = [pair(0), pair(1), pair(2), pair(3)];
        let (ab, ab2) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd, cd2) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0x44>(ab, cd),
            _mm256_shuffle_ps::<0xee>(ab, cd),
            _mm256_shuffle_ps::<0x44>(ab2, cd2),
            _mm256_shuffle_ps::<0xee>(ab2, cd2),
        ]
    }
}

/// Four by four.
#[target_feature(enable = "avx2")]
unsafe fn block_f64(from: *const f64, stride: isize, to: *mut f64, width: usize) {
    // SAFETY: the caller has four rows of four elements on both sides.
    unsafe {
        let half = |r: isize, h: usize| _mm_loadu_pd(from.offset(r * stride).add(2 * h));
        let pair = |r: isize, h: usize| _mm256_set_m128d(half(r + 2, h), half(r, h));
        for h in 0..2 {
            let [a, b] = [pair(0, h), pair(1, h)];
            let out = to.add(2 * h * width);
            _mm256_storeu_pd(out, _mm256_unpacklo_pd(a, b));
            _mm256_storeu_pd(out.add(width), _mm256_unpackhi_pd(a, b));
        }
    }
}
