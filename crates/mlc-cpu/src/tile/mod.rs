//! Tile primitives: functions on up to 256 contiguous f32, random bits, and reductions of any number, precompiled for
//! each level.
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
mod two;

pub use random::RandomFn;

use std::mem::MaybeUninit;

use mlc_ir::loops::functions::{Arith, Scalar32, begin, binary, end, unary};
use mlc_ir::loops::{Func, Prim, RedOp};

use self::two::Two;
use crate::features::Level;

/// Elements of a tile.
pub const TILE: usize = 256;

/// `dst[i] = f(a[i], b[i])` for `i < n`; functions of one operand do not read `b`. `dst` may be `a`.
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

/// `dst[i] = op(dst[i], src[i])` for `i < n`.
pub type CombineFn = unsafe extern "C" fn(dst: *mut f32, src: *const f32, n: u64);

/// Folds `n` lanes, a power of two, by halves; they are changed on the way.
pub type FoldFn = unsafe extern "C" fn(lanes: *mut f32, n: u64) -> f32;

/// The code that reduces f32 by `op`, for a level that the machine has. As [`code`], none for the baseline.
pub fn reduction(op: RedOp, level: Level) -> Option<(CombineFn, FoldFn)> {
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

/// The code of random bits, for a level that the machine has. As [`code`], none for the baseline.
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

/// Has `bytes` from `at` on brought into the second cache, if the machine likes. Nothing need be there.
pub extern "C" fn prefetch(at: *const u8, bytes: u64) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..bytes as usize).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint touches no memory, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(offset).cast()) }
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
}

/// Vectors whose lanes can be folded.
trait Fold: Lanes {
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

/// One of the ops that [`reduction`] has.
#[inline(always)]
fn combine<A: Arith>(a: &mut A, op: RedOp, x: A::F, y: A::F) -> A::F {
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
unsafe fn combine_each<L: Lanes>(lanes: L, op: RedOp, dst: *mut f32, src: *const f32, n: u64) {
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
unsafe fn fold<L: Fold>(lanes: L, op: RedOp, at: *mut f32, n: u64) -> f32 {
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

/// # Safety
/// As [`ByValueFn`]; the machine has the vectors' instruction set.
#[inline(always)]
unsafe fn with_value<L: Lanes>(lanes: L, prim: Prim, dst: *mut f32, src: *const f32, n: u64, with: f32) {
    #[inline(always)]
    fn apply<A: Arith>(a: &mut A, prim: Prim, x: A::F, y: A::F) -> A::F {
        match prim {
            Prim::Add => a.add(x, y),
            Prim::Sub => a.sub(x, y),
            Prim::Mul => a.mul(x, y),
            _ => a.div(x, y),
        }
    }
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

        $crate::tile::tile_reductions!($lanes, $feature, sum Sum, product Prod, largest Max, smallest Min);
        $crate::tile::tile_by_value!($lanes, $feature, add Add, sub Sub, mul Mul, div Div);

        /// # Safety
        /// As [`RandomFn`](crate::tile::RandomFn); the machine has the instruction set.
        #[target_feature(enable = $feature)]
        pub unsafe extern "C" fn random(
            dst: *mut u32,
            n: u64,
            seed: u64,
            index: u64,
            site: u32,
            iteration: u32,
        ) {
            // SAFETY: the caller's promise.
            unsafe { crate::tile::random::random($lanes, dst, n, seed, index, site, iteration) }
        }
    };
}
use tile_functions;

macro_rules! tile_reductions {
    ($lanes:expr, $feature:literal, $($name:ident $op:ident),*) => {
        pub fn reduction(
            op: mlc_ir::loops::RedOp,
        ) -> Option<($crate::tile::CombineFn, $crate::tile::FoldFn)> {
            Some(match op {
                $(mlc_ir::loops::RedOp::$op => ($name::combine, $name::fold),)*
                _ => return None,
            })
        }

        $(mod $name {
            use super::*;

            /// # Safety
            /// As [`CombineFn`](crate::tile::CombineFn); the machine has the instruction set.
            #[target_feature(enable = $feature)]
            pub unsafe extern "C" fn combine(dst: *mut f32, src: *const f32, n: u64) {
                // SAFETY: the caller's promise.
                unsafe { crate::tile::combine_each($lanes, mlc_ir::loops::RedOp::$op, dst, src, n) }
            }

            /// # Safety
            /// As [`FoldFn`](crate::tile::FoldFn); the machine has the instruction set.
            #[target_feature(enable = $feature)]
            pub unsafe extern "C" fn fold(lanes: *mut f32, n: u64) -> f32 {
                // SAFETY: the caller's promise.
                unsafe { crate::tile::fold($lanes, mlc_ir::loops::RedOp::$op, lanes, n) }
            }
        })*
    };
}
use tile_reductions;

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
mod tests {
    use super::*;
    use crate::features::CpuFeatures;

    const UNARY: [Func; 10] = [
        Func::Exp,
        Func::Expm1,
        Func::Log,
        Func::Log1p,
        Func::Sin,
        Func::Cos,
        Func::Tan,
        Func::Tanh,
        Func::Erf,
        Func::Sigmoid,
    ];

    fn same(a: f32, b: f32) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    /// Every `step`th bit pattern from `start` on, on every level, against the scalar expansion.
    fn sweep(f: Func, start: u32, step: usize) {
        let code: Vec<_> =
            CpuFeatures::available().into_iter().filter_map(|c| Some((c, code(f, c.level)?))).collect();
        let mut bits = (start..=u32::MAX).step_by(step).peekable();
        while bits.peek().is_some() {
            let x: Vec<f32> = bits.by_ref().take(TILE - 3).map(f32::from_bits).collect();
            let want: Vec<f32> = x.iter().map(|&x| unary(f, &mut Scalar32, x).unwrap()).collect();
            for (cpu, code) in &code {
                let mut got = x.clone();
                // SAFETY: the level is the machine's, the lengths are equal.
                unsafe { code(got.as_mut_ptr(), got.as_ptr(), x.as_ptr(), x.len() as u64) };
                for ((&x, &g), &w) in x.iter().zip(&got).zip(&want) {
                    assert!(same(g, w), "{f}({x:e}) on {cpu}: {g:e}, want {w:e}");
                }
            }
        }
    }

    #[test]
    fn tiles_are_the_expansion() {
        for (i, f) in UNARY.into_iter().enumerate() {
            sweep(f, i as u32, 49_999);
        }
    }

    #[test]
    #[ignore = "all 2^32 inputs of ten functions: minutes in a release build"]
    fn tiles_are_the_expansion_on_every_input() {
        for f in UNARY {
            sweep(f, 0, 1);
        }
    }

    #[test]
    fn lanes_fold_by_halves() {
        let special = [0.0, -0.0, 1.5, f32::NAN, -1e-40, f32::INFINITY, -2.25, 3e38];
        for op in [RedOp::Sum, RedOp::Prod, RedOp::Max, RedOp::Min] {
            for width in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
                for shift in 0..=special.len() {
                    // All numbers, then with one special value at every distance.
                    let value = |i: usize| ((i * 37 % 19) as f32 - 9.0) / 8.0;
                    let mut lanes: Vec<f32> = (0..width).map(value).collect();
                    if let Some(&x) = special.get(shift) {
                        lanes[shift * 31 % width] = x;
                    }
                    let mut want = lanes.clone();
                    while want.len() > 1 {
                        let upper = want.split_off(want.len() / 2);
                        for (x, y) in want.iter_mut().zip(upper) {
                            *x = combine(&mut Scalar32, op, *x, y);
                        }
                    }
                    for cpu in CpuFeatures::available() {
                        let Some((_, fold)) = reduction(op, cpu.level) else { continue };
                        let mut lanes = lanes.clone();
                        // SAFETY: the level is the machine's.
                        let got = unsafe { fold(lanes.as_mut_ptr(), width as u64) };
                        assert!(
                            same(got, want[0]),
                            "{op:?} of {width} on {cpu}: {got:e}, want {:e}",
                            want[0]
                        );
                    }
                }
            }
        }
    }

    /// `cargo test --release -p mlc-cpu -- --ignored --nocapture times_of_tiles`: picoseconds for an element.
    #[test]
    #[ignore = "prints times"]
    fn times_of_tiles() {
        let best = |run: &mut dyn FnMut()| {
            let one = |run: &mut dyn FnMut()| {
                let start = std::time::Instant::now();
                (0..200).for_each(|_| run());
                start.elapsed().as_nanos() as f64 / (0.2 * TILE as f64)
            };
            (0..200).map(|_| one(run)).fold(f64::INFINITY, f64::min)
        };
        let x: Vec<f32> = (0..TILE).map(|i| (i as f32 - 128.0) / 40.0).collect();
        let (mut y, n) = (x.clone(), TILE as u64);
        for cpu in CpuFeatures::available() {
            for f in UNARY {
                let Some(code) = code(f, cpu.level) else { continue };
                // SAFETY: the level is the machine's, the lengths are equal.
                let ps = best(&mut || unsafe { code(y.as_mut_ptr(), x.as_ptr(), x.as_ptr(), n) });
                println!("{cpu} {f}: {ps:.0}");
            }
            for op in [RedOp::Sum, RedOp::Max] {
                let Some((combine, fold)) = reduction(op, cpu.level) else { continue };
                // SAFETY: as above.
                let ps = best(&mut || unsafe { combine(y.as_mut_ptr(), x.as_ptr(), n) });
                // SAFETY: as above.
                let folded = best(&mut || unsafe { assert!(!fold(y.as_mut_ptr(), n).is_nan()) });
                println!("{cpu} {op:?}: {ps:.0}, fold {folded:.0}");
            }
            for prim in BY_VALUE {
                let Some(code) = by_value(prim, cpu.level) else { continue };
                // SAFETY: as above.
                let ps = best(&mut || unsafe { code(y.as_mut_ptr(), x.as_ptr(), n, 1.25) });
                println!("{cpu} {prim}: {ps:.0}");
            }
        }
    }

    #[test]
    fn functions_of_two() {
        let special =
            [0.0, -0.0, 1.0, -1.0, 2.5, -3.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, 3e38, 0.5];
        let pairs: Vec<(f32, f32)> =
            special.iter().flat_map(|&x| special.iter().map(move |&y| (x, y))).collect();
        let (x, y): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
        for f in [Func::Pow, Func::Atan2] {
            for cpu in CpuFeatures::available() {
                let Some(code) = code(f, cpu.level) else { continue };
                let mut got = x.clone();
                // SAFETY: the level is the machine's, the lengths are equal.
                unsafe { code(got.as_mut_ptr(), x.as_ptr(), y.as_ptr(), x.len() as u64) };
                for (&(x, y), &g) in pairs.iter().zip(&got) {
                    let w = binary(f, &mut Scalar32, x, y).unwrap();
                    assert!(same(g, w), "{f}({x:e}, {y:e}) on {cpu}: {g:e}, want {w:e}");
                }
            }
        }
    }
}
