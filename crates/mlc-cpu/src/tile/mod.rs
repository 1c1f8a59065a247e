//! Tile primitives: functions on up to 256 contiguous f32 and reductions of any number, precompiled for each level.
//!
//! They are the functions' one expansion with [`Arith`](mlc_ir::loops::functions::Arith) on the level's vectors: the
//! same operations on each element as the interpreter does, so equal to it bit for bit. A last group that is not
//! full runs on a padded copy. Each ends with the upper vector halves clear, as the compiler sees to.

pub mod accuracy;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod random;
mod reduce;
mod small;
mod two;

use std::mem::MaybeUninit;

use mlc_ir::DType;
use mlc_ir::loops::functions::{Arith, Scalar32, begin, binary, end, unary};
use mlc_ir::loops::{Func, Prim, RedOp};

use self::two::Two;
use crate::features::Level;

/// Elements of a tile.
pub const TILE: usize = 256;

pub use random::RandomFn;
pub use reduce::{ROW_MIN, ReduceCode};
pub use small::SmallCode;

/// `dst[i] = f(a[i], b[i])` for `i < n`; functions of one operand do not read `b`. `dst` may be `a` or `b`.
pub type TileFn = unsafe extern "C" fn(dst: *mut f32, a: *const f32, b: *const f32, n: u64);

/// The code of a function for a level that the machine has. None for the baseline, where vectors of four are all
/// there is: there the generator's code in line is as good.
pub fn code(f: Func, level: Level) -> Option<TileFn> {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512::code(f),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::code(f),
        Level::Portable => None,
        #[cfg(not(target_arch = "x86_64"))]
        _ => None,
    }
}

/// The code that reduces f32 by `op`, for a level that the machine has. As [`code`], none for the baseline.
pub fn reduction(op: RedOp, level: Level) -> Option<ReduceCode> {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512::reduction(op),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::reduction(op),
        Level::Portable => None,
        #[cfg(not(target_arch = "x86_64"))]
        _ => None,
    }
}

/// `dst[i] = prim(src[i], with)` for `i < n`; `dst` may be `src`.
pub type ByValueFn = unsafe extern "C" fn(dst: *mut f32, src: *const f32, n: u64, with: f32);

/// The primitives that [`by_value`] has.
pub const BY_VALUE: [Prim; 4] = [Prim::Add, Prim::Sub, Prim::Mul, Prim::Div];

/// The code that combines an array with one value, for a level that the machine has. As [`code`], none for the
/// baseline.
pub fn by_value(prim: Prim, level: Level) -> Option<ByValueFn> {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512::by_value(prim),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::by_value(prim),
        Level::Portable => None,
        #[cfg(not(target_arch = "x86_64"))]
        _ => None,
    }
}

/// The code that draws random words, for a level that the machine has. As [`code`], none for the baseline.
pub fn random(level: Level) -> Option<RandomFn> {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => Some(avx512::random),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => Some(avx2::random),
        Level::Portable => None,
        #[cfg(not(target_arch = "x86_64"))]
        _ => None,
    }
}

/// The code of a small float, f16 or bf16, for a level that the machine has. As [`code`], none for the baseline.
pub fn small(dtype: DType, level: Level) -> Option<SmallCode> {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512::small(dtype),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::small(dtype),
        Level::Portable => None,
        #[cfg(not(target_arch = "x86_64"))]
        _ => None,
    }
}

/// Orders what was stored past the caches before whatever is stored next.
pub extern "C" fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 machine has the instruction.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Has `bytes` from `at` on brought into the second cache, if the machine likes. Nothing need be there.
pub extern "C" fn prefetch(at: *const u8, bytes: u64) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..bytes as usize).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint touches no memory, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(offset).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
}

/// Vectors of f32 as tile code goes over them.
trait Lanes: Arith + Copy {
    const COUNT: usize;

    /// # Safety
    /// The machine has the vectors' instruction set, and there are `COUNT` elements.
    unsafe fn load(self, from: *const f32) -> Self::F;

    /// # Safety
    /// As [`Lanes::load`].
    unsafe fn store(self, v: Self::F, to: *mut f32);

    /// Stores lane by lane: lane i of `v[j]` goes to `to[4 * i + j]`.
    ///
    /// # Safety
    /// As [`Lanes::load`], of four times as many elements.
    unsafe fn store_by_lane(self, v: [Self::F; 4], to: *mut f32);

    /// Half words, zero-extended.
    ///
    /// # Safety
    /// As [`Lanes::load`].
    unsafe fn load_half(self, from: *const u16) -> Self::U;

    /// Stores the lower half of each lane; the upper is 0.
    ///
    /// # Safety
    /// As [`Lanes::load`].
    unsafe fn store_half(self, v: Self::U, to: *mut u16);
}

/// Applies a function to groups of lanes: two vectors at a time, then one, then a copy of what is left. One that is cut
/// in two goes over all pairs of vectors twice.
///
/// # Safety
/// As [`TileFn`]; the machine has the vectors' instruction set.
#[inline(always)]
unsafe fn each<L: Lanes>(lanes: L, f: Func, dst: *mut f32, a: *const f32, b: *const f32, n: u64) {
    let n = n as usize;
    let two = matches!(f, Func::Pow | Func::Atan2);
    // SAFETY: full groups are within n, the rest goes through arrays of a group's length.
    unsafe {
        let second = |i: usize| if two { b.add(i) } else { a.add(i) };
        let mut i = in_halves(Two(lanes), f, dst, a, n);
        while i + 2 * L::COUNT <= n {
            group(Two(lanes), f, two, dst.add(i), a.add(i), second(i));
            i += 2 * L::COUNT;
        }
        if i + L::COUNT <= n {
            group(lanes, f, two, dst.add(i), a.add(i), second(i));
            i += L::COUNT;
        }
        if i < n {
            let rest = n - i;
            let (mut x, mut y, mut out) = ([0.0; 16], [0.0; 16], [0.0; 16]);
            std::ptr::copy_nonoverlapping(a.add(i), x.as_mut_ptr(), rest);
            if two {
                std::ptr::copy_nonoverlapping(b.add(i), y.as_mut_ptr(), rest);
            }
            group(lanes, f, two, out.as_mut_ptr(), x.as_ptr(), y.as_ptr());
            std::ptr::copy_nonoverlapping(out.as_ptr(), dst.add(i), rest);
        }
    }
}

/// Applies a function that is cut in two to all whole groups of lanes; to how many elements.
///
/// # Safety
/// As [`TileFn`]; the machine has the vectors' instruction set.
#[inline(always)]
unsafe fn in_halves<L: Lanes>(mut lanes: L, f: Func, dst: *mut f32, a: *const f32, n: usize) -> usize {
    let n = n / L::COUNT * L::COUNT;
    let mut begun = MaybeUninit::<[[f32; TILE]; 2]>::uninit();
    let [first, second] = [0, TILE].map(|at| begun.as_mut_ptr().cast::<f32>().wrapping_add(at));
    // SAFETY: the caller's promise, so n is at most a tile; what is read of `begun` was written before.
    unsafe {
        for i in (0..n).step_by(L::COUNT) {
            let x = lanes.load(a.add(i));
            let Some(halves) = begin(f, &mut lanes, x) else { return 0 };
            lanes.store(halves[0], first.add(i));
            lanes.store(halves[1], second.add(i));
        }
        for i in (0..n).step_by(L::COUNT) {
            let halves = [lanes.load(first.add(i)), lanes.load(second.add(i))];
            let x = lanes.load(a.add(i));
            let Some(y) = end(f, &mut lanes, x, halves) else { return 0 };
            lanes.store(y, dst.add(i));
        }
    }
    n
}

#[inline(always)]
unsafe fn group<L: Lanes>(lanes: L, f: Func, two: bool, dst: *mut f32, a: *const f32, b: *const f32) {
    let mut lanes = lanes;
    // SAFETY: the caller's promise.
    unsafe {
        let x = lanes.load(a);
        let v = if two {
            let y = lanes.load(b);
            binary(f, &mut lanes, x, y)
        } else {
            unary(f, &mut lanes, x)
        };
        lanes.store(v.unwrap_or(x), dst);
    }
}

/// One of [`BY_VALUE`].
#[inline(always)]
fn apply<A: Arith>(a: &mut A, prim: Prim, x: A::F, y: A::F) -> A::F {
    match prim {
        Prim::Add => a.add(x, y),
        Prim::Sub => a.sub(x, y),
        Prim::Mul => a.mul(x, y),
        _ => a.div(x, y),
    }
}

/// # Safety
/// As [`ByValueFn`]; the machine has the vectors' instruction set.
#[inline(always)]
unsafe fn with_value<L: Lanes>(lanes: L, prim: Prim, dst: *mut f32, src: *const f32, n: u64, with: f32) {
    let (mut lanes, n) = (lanes, n as usize);
    let full = n / L::COUNT * L::COUNT;
    let all = lanes.num(with.into());
    // SAFETY: the caller's promise; full groups and single elements are within n.
    unsafe {
        let mut i = 0;
        while i < full {
            let x = lanes.load(src.add(i));
            let v = apply(&mut lanes, prim, x, all);
            lanes.store(v, dst.add(i));
            i += L::COUNT;
        }
        for i in full..n {
            *dst.add(i) = apply(&mut Scalar32, prim, *src.add(i), with);
        }
    }
}

/// The table of functions, and an extern function for each of its rows.
macro_rules! tile_functions {
    ($lanes:expr, $feature:literal) => {
        $crate::tile::tile_functions!(@ $lanes, $feature,
            exp Exp, expm1 Expm1, log Log, log1p Log1p, sin Sin, cos Cos, tan Tan, tanh Tanh, erf Erf,
            sigmoid Sigmoid, pow Pow, atan2 Atan2);
    };
    (@ $lanes:expr, $feature:literal, $($name:ident $func:ident),*) => {
        pub fn code(f: mlc_ir::loops::Func) -> Option<$crate::tile::TileFn> {
            Some(match f {
                $(mlc_ir::loops::Func::$func => $name,)*
                mlc_ir::loops::Func::Philox => return None,
            })
        }

        $($crate::tile::tile_function!($lanes, $feature, $name $func);)*

        $crate::tile::reduce::tile_reductions!($lanes, $feature, sum Sum, product Prod, largest Max, smallest Min);
        $crate::tile::tile_by_value!($lanes, $feature, add Add, sub Sub, mul Mul, div Div);

        $crate::tile::small::tile_small!($lanes, $feature, f16 F16, bf16 BF16);

        /// # Safety
        /// As [`RandomFn`](crate::tile::RandomFn); the machine has the instruction set.
        #[target_feature(enable = $feature)]
        pub unsafe extern "C" fn random(
            dst: *mut u32,
            n: u64,
            seed: u64,
            first: u64,
            site: u32,
            iteration: u32,
        ) {
            // SAFETY: the caller's promise.
            unsafe { crate::tile::random::words($lanes, dst, n, seed, first, [site, iteration]) }
        }
    };
}
use tile_functions;

macro_rules! tile_by_value {
    ($lanes:expr, $feature:literal, $($name:ident $prim:ident),*) => {
        pub fn by_value(prim: mlc_ir::loops::Prim) -> Option<$crate::tile::ByValueFn> {
            Some(match prim {
                $(mlc_ir::loops::Prim::$prim => $name,)*
                _ => return None,
            })
        }

        $(
            /// # Safety
            /// As [`ByValueFn`](crate::tile::ByValueFn); the machine has the instruction set.
            #[target_feature(enable = $feature)]
            unsafe extern "C" fn $name(dst: *mut f32, src: *const f32, n: u64, with: f32) {
                // SAFETY: the caller's promise.
                unsafe { crate::tile::with_value($lanes, mlc_ir::loops::Prim::$prim, dst, src, n, with) }
            }
        )*
    };
}
use tile_by_value;

macro_rules! tile_function {
    ($lanes:expr, $feature:literal, $name:ident $func:ident) => {
        /// # Safety
        /// As [`super::TileFn`]; the machine has the instruction set.
        #[target_feature(enable = $feature)]
        unsafe extern "C" fn $name(dst: *mut f32, a: *const f32, b: *const f32, n: u64) {
            // SAFETY: the caller's promise.
            unsafe { super::each($lanes, mlc_ir::loops::Func::$func, dst, a, b, n) }
        }
    };
}
use tile_function;

#[cfg(test)]
mod tests;
