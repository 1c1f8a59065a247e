//! Packing: copies of elements to where micro-kernels read them one after another, as groups of rows, rows along k, or
//! panels of lanes.

use super::Matrix;
use super::lanes::Element;
use super::micro::{CopyFn, Micro};

/// Where groups go: rows along k so many elements apart, or groups of `width` rows or lanes, `width * apart` from one to
/// the next.
#[derive(Clone, Copy)]
pub struct Groups<T> {
    pub to: *mut T,
    pub width: usize,
    pub apart: usize,
}

/// Packs rows: along k where they do not lie contiguous across.
///
/// # Safety
/// `from` has the elements, `to` the room; the machine has the instruction set of `copy`.
pub unsafe fn pack_rows<T: Copy>(from: Matrix<T>, rows: usize, kc: usize, to: Groups<T>, copy: CopyFn<T>) {
    // SAFETY: the caller's promise.
    unsafe {
        if from.row == 1 {
            copy_groups(from, rows, kc, to, copy);
        } else {
            copy_along_k(from, rows, kc, to.to, to.apart);
        }
    }
}

/// Packs lanes to panels; missing ones of the last are zeros.
///
/// # Safety
/// `from` has the elements, `to` the room; the machine has the instruction set of `micro`.
pub unsafe fn pack_lanes<T: Element>(
    from: Matrix<T>,
    lanes: usize,
    kc: usize,
    to: Groups<T>,
    micro: &Micro<T>,
    copy: CopyFn<T>,
) {
    let Groups { to, width, apart } = to;
    let full = if from.row == 1 { lanes / width * width } else { 0 };
    // SAFETY: the caller's promise.
    unsafe {
        copy(from.base, from.col, full / width, kc, to, width * apart);
        for j in (full..lanes).step_by(width) {
            let (count, to) = (width.min(lanes - j), to.add(j * apart));
            if count < width {
                (0..width * kc).for_each(|i| *to.add(i) = T::ZERO);
            }
            pack_panel(micro, from.shifted(j, 0), count, kc, to, width);
        }
    }
}

/// Packs up to `width` lanes.
///
/// # Safety
/// As [`pack_lanes`].
pub unsafe fn pack_panel<T: Element>(
    micro: &Micro<T>,
    m: Matrix<T>,
    count: usize,
    kc: usize,
    to: *mut T,
    width: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if m.col == 1 {
            (micro.transpose)(m.base, m.row, count, kc, to, width);
        } else {
            copy_across(m, count, kc, to, width);
        }
    }
}

/// Copies `rows` x `kc` elements to rows so many elements apart.
///
/// # Safety
/// `from` has the elements, `to` the room.
pub unsafe fn copy_along_k<T: Copy>(from: Matrix<T>, rows: usize, kc: usize, to: *mut T, apart: usize) {
    for r in 0..rows {
        // SAFETY: the caller's promise.
        unsafe {
            let to = to.add(r * apart);
            if from.col == 1 {
                std::ptr::copy_nonoverlapping(from.at(r, 0), to, kc);
            } else {
                (0..kc).for_each(|p| *to.add(p) = *from.at(r, p));
            }
        }
    }
}

/// Copies `rows` x `kc` elements to columns `width` apart.
///
/// # Safety
/// `from` has the elements, `to` the room.
pub unsafe fn copy_across<T: Copy>(from: Matrix<T>, rows: usize, kc: usize, to: *mut T, width: usize) {
    for p in 0..kc {
        // SAFETY: the caller's promise.
        unsafe {
            let to = to.add(p * width);
            if from.row == 1 {
                copy_short(from.at(0, p), to, rows);
            } else {
                (0..rows).for_each(|r| *to.add(r) = *from.at(r, p));
            }
        }
    }
}

/// Copies `rows` x `kc` elements, contiguous across rows, to groups. `copy` does so for whole groups.
///
/// # Safety
/// `from` has the elements, `to` the room; the machine has the instruction set of `copy`.
unsafe fn copy_groups<T: Copy>(from: Matrix<T>, rows: usize, kc: usize, to: Groups<T>, copy: CopyFn<T>) {
    let Groups { to, width, apart } = to;
    let full = rows / width * width;
    // SAFETY: the caller's promise.
    unsafe {
        copy(from.base, from.col, full / width, kc, to, width * apart);
        copy_across(from.shifted(full, 0), rows - full, kc, to.add(full * apart), width);
    }
}

/// Copies a few elements, sixteen bytes at a time if there are so many; the last sixteen may overlap those before.
///
/// # Safety
/// As [`std::ptr::copy_nonoverlapping`].
#[inline(always)]
unsafe fn copy_short<T: Copy>(from: *const T, to: *mut T, count: usize) {
    let bytes = count * size_of::<T>();
    // SAFETY: the caller's promise.
    unsafe {
        if bytes < 16 {
            for i in 0..count {
                *to.add(i) = *from.add(i);
            }
            return;
        }
        let (from, to): (*const u8, *mut u8) = (from.cast(), to.cast());
        let sixteen = |at: usize| {
            let v = from.add(at).cast::<[u64; 2]>().read_unaligned();
            to.add(at).cast::<[u64; 2]>().write_unaligned(v);
        };
        (0..bytes / 16).for_each(|i| sixteen(16 * i));
        if !bytes.is_multiple_of(16) {
            sixteen(bytes - 16);
        }
    }
}
