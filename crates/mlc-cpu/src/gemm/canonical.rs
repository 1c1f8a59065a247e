//! The canonical contraction R7: chunks of 256 along k, in each `c = fma(a, b, c)` ascending from +0, chunk
//! results added ascending. One accumulator for each output, so neither the tile size nor the vector width shows
//! in the result. Padding happens along m and n only.

use mlc_ir::loops::KC;

use super::{Matrix, MatrixMut};
use crate::features::{CpuFeatures, Level};

/// An element type of contractions.
pub trait Element: Copy {
    const ZERO: Self;

    /// `self * b + c`: one rounding for floats, wrapping for integers.
    fn fma(self, b: Self, c: Self) -> Self;

    fn plus(self, b: Self) -> Self;
}

macro_rules! floats {
    ($($t:ty)*) => {$(
        impl Element for $t {
            const ZERO: Self = 0.0;

            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                self.mul_add(b, c)
            }

            #[inline(always)]
            fn plus(self, b: Self) -> Self {
                self + b
            }
        }
    )*};
}
floats!(f32 f64);

macro_rules! ints {
    ($($t:ty)*) => {$(
        impl Element for $t {
            const ZERO: Self = 0;

            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                self.wrapping_mul(b).wrapping_add(c)
            }

            #[inline(always)]
            fn plus(self, b: Self) -> Self {
                self.wrapping_add(b)
            }
        }
    )*};
}
ints!(i64 i32 i16 i8 u8 u32 u64);

/// Columns of the right operand that are packed at once.
const NC: usize = 512;
/// Rows of the largest micro-kernel.
const MR_MAX: usize = 8;

/// Working memory, in elements.
pub fn scratch_elements() -> u64 {
    KC * (NC + MR_MAX) as u64
}

/// `out = a * b` over k, with `a` of m rows and `b` of n rows, both k long.
///
/// # Safety
/// The matrices are valid for these extents, `out` overlaps neither operand, and `scratch` has
/// [`scratch_elements`].
pub unsafe fn run<T: Element>(
    cpu: CpuFeatures,
    [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    out: MatrixMut<T>,
    scratch: *mut T,
) {
    match cpu.level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level says that the machine has the features; the rest is the caller's promise.
        Level::Avx512 => unsafe { run_avx512(m, n, k, a, b, out, scratch) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { run_avx2(m, n, k, a, b, out, scratch) },
        // SAFETY: the caller's promise.
        _ => unsafe { tiles::<T, 4, 8>(m, n, k, a, b, out, scratch) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn run_avx512<T: Element>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<T>,
    b: Matrix<T>,
    out: MatrixMut<T>,
    scratch: *mut T,
) {
    // SAFETY: the caller's promise.
    unsafe { tiles::<T, 8, 32>(m, n, k, a, b, out, scratch) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<T: Element>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<T>,
    b: Matrix<T>,
    out: MatrixMut<T>,
    scratch: *mut T,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if size_of::<T>() == 8 {
            tiles::<T, 6, 8>(m, n, k, a, b, out, scratch)
        } else {
            tiles::<T, 6, 16>(m, n, k, a, b, out, scratch)
        }
    }
}

#[inline(always)]
unsafe fn tiles<T: Element, const MR: usize, const NR: usize>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<T>,
    b: Matrix<T>,
    out: MatrixMut<T>,
    scratch: *mut T,
) {
    let kc_max = KC as usize;
    let right = scratch;
    // SAFETY: the scratch has room for NC columns and MR_MAX rows of one chunk; all element accesses are within
    // m, n, k, for which the caller vouches.
    unsafe {
        let left = scratch.add(kc_max * NC);
        if k == 0 {
            return for_all(m, n, |i, j| *out.at(i, j) = T::ZERO);
        }
        for j0 in (0..n).step_by(NC) {
            let nc = NC.min(n - j0);
            for k0 in (0..k).step_by(kc_max) {
                let kc = kc_max.min(k - k0);
                for j in (0..nc).step_by(NR) {
                    pack::<T, NR>(b.shifted(j0 + j, k0), NR.min(nc - j), kc, right.add(j * kc));
                }
                for i in (0..m).step_by(MR) {
                    let rows = MR.min(m - i);
                    pack::<T, MR>(a.shifted(i, k0), rows, kc, left);
                    for j in (0..nc).step_by(NR) {
                        let acc = micro::<T, MR, NR>(kc, left, right.add(j * kc));
                        let cols = NR.min(nc - j);
                        store(&acc, rows, cols, out, i, j0 + j, k0 == 0);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn for_all(m: usize, n: usize, mut f: impl FnMut(usize, usize)) {
    for i in 0..m {
        for j in 0..n {
            f(i, j);
        }
    }
}

/// Packs `rows` rows of `kc` elements as kc groups of `R`, the missing rows as zeros.
#[inline(always)]
unsafe fn pack<T: Element, const R: usize>(from: Matrix<T>, rows: usize, kc: usize, to: *mut T) {
    // SAFETY: the caller's: `from` has `rows` x `kc` elements, `to` room for `R` x `kc`.
    unsafe {
        if from.row == 1 && rows == R {
            for p in 0..kc {
                let src = from.base.offset(p as isize * from.col);
                std::ptr::copy_nonoverlapping(src, to.add(p * R), R);
            }
            return;
        }
        for r in 0..R {
            if r < rows {
                for p in 0..kc {
                    *to.add(p * R + r) = *from.at(r, p);
                }
            } else {
                for p in 0..kc {
                    *to.add(p * R + r) = T::ZERO;
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn micro<T: Element, const MR: usize, const NR: usize>(
    kc: usize,
    a: *const T,
    b: *const T,
) -> [[T; NR]; MR] {
    let mut acc = [[T::ZERO; NR]; MR];
    for p in 0..kc {
        // SAFETY: the panels hold kc groups of MR and NR elements.
        let (a, b) = unsafe { (&*a.add(p * MR).cast::<[T; MR]>(), &*b.add(p * NR).cast::<[T; NR]>()) };
        for i in 0..MR {
            for j in 0..NR {
                acc[i][j] = a[i].fma(b[j], acc[i][j]);
            }
        }
    }
    acc
}

/// Sets the outputs, or adds a later chunk to them.
#[inline(always)]
unsafe fn store<T: Element, const MR: usize, const NR: usize>(
    acc: &[[T; NR]; MR],
    rows: usize,
    cols: usize,
    out: MatrixMut<T>,
    i0: usize,
    j0: usize,
    first: bool,
) {
    for (i, row) in acc.iter().enumerate().take(rows) {
        for (j, &c) in row.iter().enumerate().take(cols) {
            // SAFETY: within the output, for which the caller vouches.
            unsafe {
                let to = out.at(i0 + i, j0 + j);
                *to = if first { c } else { (*to).plus(c) };
            }
        }
    }
}
