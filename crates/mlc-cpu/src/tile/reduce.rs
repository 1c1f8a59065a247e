//! Reductions: what tiles and rows of f32 become by the tree R4.

use mlc_ir::loops::RedOp;
use mlc_ir::loops::functions::{Arith, Scalar32};

use super::{Lanes, TILE};

/// `dst[i] = op(dst[i], src[i])` for `i < n`.
pub type CombineFn = unsafe extern "C" fn(dst: *mut f32, src: *const f32, n: u64);

/// Folds `n` lanes, a power of two, by halves; they are changed on the way.
pub type FoldFn = unsafe extern "C" fn(lanes: *mut f32, n: u64) -> f32;

/// The reduction of a row of `n` elements, from [`ROW_MIN`] to a block's 4096.
pub type RowFn = unsafe extern "C" fn(src: *const f32, n: u64) -> f32;

/// The code of one reduction.
#[derive(Clone, Copy)]
pub struct ReduceCode {
    pub combine: CombineFn,
    pub fold: FoldFn,
    pub row: RowFn,
}

/// Elements of the shortest row that [`ReduceCode::row`] takes.
pub const ROW_MIN: u64 = 64;

/// Vectors whose lanes can be folded.
pub(super) trait Fold: Lanes {
    /// Lane i of the result is lane i + `by` of `v`, for i below `by`: half the lanes, a quarter and so on.
    ///
    /// # Safety
    /// The machine has the vectors' instruction set.
    unsafe fn upper(self, v: Self::F, by: usize) -> Self::F;

    /// Lane 0.
    ///
    /// # Safety
    /// As [`Fold::upper`].
    unsafe fn first(self, v: Self::F) -> f32;
}

/// One of the ops that [`reduction`] has.
#[inline(always)]
pub(super) fn combine<A: Arith>(a: &mut A, op: RedOp, x: A::F, y: A::F) -> A::F {
    match op {
        RedOp::Max => a.max(x, y),
        RedOp::Min => a.min(x, y),
        RedOp::Prod => a.mul(x, y),
        _ => a.add(x, y),
    }
}

/// # Safety
/// As [`CombineFn`]; the machine has the vectors' instruction set.
#[inline(always)]
pub(super) unsafe fn combine_each<L: Lanes>(lanes: L, op: RedOp, dst: *mut f32, src: *const f32, n: u64) {
    let (mut lanes, n) = (lanes, n as usize);
    let full = n / L::COUNT * L::COUNT;
    // SAFETY: the caller's promise; full groups and single elements are within n.
    unsafe {
        let mut i = 0;
        while i < full {
            let (x, y) = (lanes.load(dst.add(i)), lanes.load(src.add(i)));
            let v = combine(&mut lanes, op, x, y);
            lanes.store(v, dst.add(i));
            i += L::COUNT;
        }
        for i in full..n {
            *dst.add(i) = combine(&mut Scalar32, op, *dst.add(i), *src.add(i));
        }
    }
}

/// # Safety
/// As [`FoldFn`]; the machine has the vectors' instruction set.
#[inline(always)]
pub(super) unsafe fn fold<L: Fold>(lanes: L, op: RedOp, at: *mut f32, n: u64) -> f32 {
    let (mut lanes, mut width) = (lanes, n as usize);
    // SAFETY: the caller's promise: both halves are within n.
    unsafe {
        while width > L::COUNT {
            let half = width / 2;
            for i in (0..half).step_by(L::COUNT) {
                let (x, y) = (lanes.load(at.add(i)), lanes.load(at.add(half + i)));
                let v = combine(&mut lanes, op, x, y);
                lanes.store(v, at.add(i));
            }
            width = half;
        }
        if width == L::COUNT {
            let mut v = lanes.load(at);
            while width > 1 {
                width /= 2;
                let upper = lanes.upper(v, width);
                v = combine(&mut lanes, op, v, upper);
            }
            return lanes.first(v);
        }
        while width > 1 {
            width /= 2;
            for i in 0..width {
                *at.add(i) = combine(&mut Scalar32, op, *at.add(i), *at.add(width + i));
            }
        }
        *at
    }
}

/// The value that changes no other, as the tree begins with.
#[inline(always)]
pub(super) fn identity(op: RedOp) -> f32 {
    match op {
        RedOp::Max => f32::NEG_INFINITY,
        RedOp::Min => f32::INFINITY,
        RedOp::Prod => 1.0,
        _ => -0.0,
    }
}

/// With AVX-512 the lanes stay in registers; AVX2 has too few.
///
/// # Safety
/// As [`RowFn`]; the machine has the vectors' instruction set.
#[inline(always)]
pub(super) unsafe fn row<L: Fold>(lanes: L, op: RedOp, src: *const f32, n: u64) -> f32 {
    let n = n as usize;
    let width = n.min(TILE).next_power_of_two();
    // SAFETY: the caller's promise; widths are multiples of 64.
    unsafe {
        if L::COUNT == 16 {
            return match width {
                64 => fold_vectors(lanes, op, lanes_of::<L, 4>(lanes, op, src, n)),
                128 => fold_vectors(lanes, op, lanes_of::<L, 8>(lanes, op, src, n)),
                _ => fold_vectors(lanes, op, lanes_of::<L, 16>(lanes, op, src, n)),
            };
        }
        #[repr(align(64))]
        struct Lines([f32; TILE]);
        let mut all = Lines([identity(op); TILE]);
        let all = all.0.as_mut_ptr();
        for at in (0..n).step_by(width) {
            combine_each(lanes, op, all, src.add(at), (n - at).min(width) as u64);
        }
        fold(lanes, op, all, width as u64)
    }
}

/// The lanes of a row, in `V` vectors.
///
/// # Safety
/// There are `n` elements; the machine has the vectors' instruction set.
#[inline(always)]
unsafe fn lanes_of<L: Fold, const V: usize>(lanes: L, op: RedOp, src: *const f32, n: usize) -> [L::F; V] {
    let mut lanes = lanes;
    let mut acc = [lanes.num(identity(op).into()); V];
    let mut at = 0;
    // SAFETY: what is read lies before n.
    unsafe {
        while at + V * L::COUNT <= n {
            for (k, acc) in acc.iter_mut().enumerate() {
                let x = lanes.load(src.add(at + k * L::COUNT));
                *acc = combine(&mut lanes, op, *acc, x);
            }
            at += V * L::COUNT;
        }
        for acc in &mut acc {
            if at >= n {
                break;
            }
            let x = if at + L::COUNT <= n {
                lanes.load(src.add(at))
            } else {
                let mut rest = [identity(op); 16];
                std::ptr::copy_nonoverlapping(src.add(at), rest.as_mut_ptr(), n - at);
                lanes.load(rest.as_ptr())
            };
            *acc = combine(&mut lanes, op, *acc, x);
            at += L::COUNT;
        }
    }
    acc
}

/// # Safety
/// The machine has the vectors' instruction set.
#[inline(always)]
unsafe fn fold_vectors<L: Fold, const V: usize>(lanes: L, op: RedOp, mut acc: [L::F; V]) -> f32 {
    let mut lanes = lanes;
    let mut half = V / 2;
    while half > 0 {
        for k in 0..half {
            acc[k] = combine(&mut lanes, op, acc[k], acc[half + k]);
        }
        half /= 2;
    }
    let (mut v, mut width) = (acc[0], L::COUNT / 2);
    // SAFETY: the caller's promise.
    unsafe {
        while width > 0 {
            let upper = lanes.upper(v, width);
            v = combine(&mut lanes, op, v, upper);
            width /= 2;
        }
        lanes.first(v)
    }
}

macro_rules! tile_reductions {
    ($lanes:expr, $feature:literal, $($name:ident $op:ident),*) => {
        pub fn reduction(op: mlc_ir::loops::RedOp) -> Option<$crate::tile::ReduceCode> {
            use $crate::tile::ReduceCode;
            Some(match op {
                $(mlc_ir::loops::RedOp::$op => {
                    ReduceCode { combine: $name::combine, fold: $name::fold, row: $name::row }
                })*
                _ => return None,
            })
        }

        $(mod $name {
            use super::*;
            use mlc_ir::loops::RedOp;
            use $crate::tile::reduce;

            /// # Safety
            /// As [`CombineFn`](reduce::CombineFn); the machine has the instruction set.
            #[target_feature(enable = $feature)]
            pub unsafe extern "C" fn combine(dst: *mut f32, src: *const f32, n: u64) {
                // SAFETY: the caller's promise.
                unsafe { reduce::combine_each($lanes, RedOp::$op, dst, src, n) }
            }

            /// # Safety
            /// As [`FoldFn`](reduce::FoldFn); the machine has the instruction set.
            #[target_feature(enable = $feature)]
            pub unsafe extern "C" fn fold(lanes: *mut f32, n: u64) -> f32 {
                // SAFETY: the caller's promise.
                unsafe { reduce::fold($lanes, RedOp::$op, lanes, n) }
            }

            /// # Safety
            /// As [`RowFn`](reduce::RowFn); the machine has the instruction set.
            #[target_feature(enable = $feature)]
            pub unsafe extern "C" fn row(src: *const f32, n: u64) -> f32 {
                // SAFETY: the caller's promise.
                unsafe { reduce::row($lanes, RedOp::$op, src, n) }
            }
        })*
    };
}
pub(super) use tile_reductions;
