//! The canonical contraction R7: chunks of 256 along k, in each `c = fma(a, b, c)` ascending from +0, chunk
//! results added ascending. One accumulator for each output, so neither the tile size nor the vector width shows
//! in the result. Padding happens along m and n only.

use mlc_ir::loops::KC;

use super::micro::{Element, MAX_TILE, Tile};
use super::{Matrix, MatrixMut};
use crate::features::CpuFeatures;

/// Columns of the right operand that are packed at once: a multiple of every tile's.
const NC: usize = 512;
/// Most rows of a tile.
const MR_MAX: usize = 16;

/// Working memory, in elements.
pub fn scratch_elements() -> u64 {
    KC * (NC + MR_MAX) as u64
}

/// `out = a * b` over k, with `a` of m rows and `b` of n rows, both k long.
///
/// # Safety
/// The machine has `cpu`, the matrices are valid for these extents, `out` overlaps neither operand, and
/// `scratch` has [`scratch_elements`].
pub unsafe fn run<T: Element>(
    cpu: CpuFeatures,
    [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    out: MatrixMut<T>,
    scratch: *mut T,
) {
    if k == 0 {
        return for_all(m, n, |i, j| {
            // SAFETY: within the output, for which the caller vouches.
            unsafe { *out.at(i, j) = T::ZERO }
        });
    }
    let tile = T::tile(cpu.level);
    let chunk = KC as usize;
    let right = scratch;
    // SAFETY: the working memory holds NC columns and MR_MAX rows of a chunk; elements are within m, n, k, for which
    // the caller vouches; the tile's code is for a level that the machine has.
    unsafe {
        let left = scratch.add(chunk * NC);
        for j0 in (0..n).step_by(NC) {
            let nc = NC.min(n - j0);
            for k0 in (0..k).step_by(chunk) {
                let kc = chunk.min(k - k0);
                for j in (0..nc).step_by(tile.nr) {
                    pack(b.shifted(j0 + j, k0), tile.nr.min(nc - j), tile.nr, kc, right.add(j * kc));
                }
                for i in (0..m).step_by(tile.mr) {
                    pack(a.shifted(i, k0), tile.mr.min(m - i), tile.mr, kc, left);
                    for j in (0..nc).step_by(tile.nr) {
                        let extents = [tile.mr.min(m - i), tile.nr.min(nc - j), kc];
                        let to = MatrixMut { base: out.at(i, j0 + j), ..out };
                        block(&tile, extents, left, right.add(j * kc), to, k0 == 0);
                    }
                }
            }
        }
    }
}

fn for_all(m: usize, n: usize, mut f: impl FnMut(usize, usize)) {
    for i in 0..m {
        for j in 0..n {
            f(i, j);
        }
    }
}

/// Packs `rows` rows of `kc` elements as kc groups of `group`, missing rows as zeros.
///
/// # Safety
/// `from` has these elements, `to` room for the groups.
unsafe fn pack<T: Element>(from: Matrix<T>, rows: usize, group: usize, kc: usize, to: *mut T) {
    // SAFETY: the caller's promise.
    unsafe {
        for p in 0..kc {
            let src = from.at(0, p);
            let dst = to.add(p * group);
            if from.row == 1 {
                std::ptr::copy_nonoverlapping(src, dst, rows);
            } else {
                for r in 0..rows {
                    *dst.add(r) = *src.wrapping_offset(r as isize * from.row);
                }
            }
            for r in rows..group {
                *dst.add(r) = T::ZERO;
            }
        }
    }
}

/// One tile of one chunk: the first chunk sets the outputs, later ones are added.
///
/// # Safety
/// The panels hold kc groups; `out` has the tile's rows and columns that exist.
unsafe fn block<T: Element>(
    tile: &Tile<T>,
    [rows, cols, kc]: [usize; 3],
    left: *const T,
    right: *const T,
    out: MatrixMut<T>,
    first: bool,
) {
    let mut acc = [T::ZERO; MAX_TILE];
    // SAFETY: the caller's promise; a tile has at most MAX_TILE elements.
    unsafe {
        (tile.run)(kc, left, right, acc.as_mut_ptr());
        for (i, row) in acc.chunks(tile.nr).enumerate().take(rows) {
            for (j, &c) in row.iter().enumerate().take(cols) {
                let to = out.at(i, j);
                *to = if first { c } else { (*to).plus(c) };
            }
        }
    }
}
