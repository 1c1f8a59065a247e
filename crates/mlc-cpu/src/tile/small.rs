//! f16 and bf16 in tiles: their bits to f32 and back, and arithmetic that rounds to them and stays in f32.
//!
//! Written once over [`Arith`], without a step that gives or takes a subnormal f32 for one of f16: some machines take a
//! hundred times as long for those. Results are those of the generator's code in line (`emit/half.rs`), NaNs included.

use mlc_ir::DType;
use mlc_ir::loops::Prim;
use mlc_ir::loops::functions::Arith;

use super::{BY_VALUE, Lanes, apply};

/// `dst[i] = src[i]`, of the bits of small floats.
pub type WidenFn = unsafe extern "C" fn(dst: *mut f32, src: *const u16, n: u64);

/// `dst[i] = src[i]`, rounded, as the bits of a small float.
pub type NarrowFn = unsafe extern "C" fn(dst: *mut u16, src: *const f32, n: u64);

/// `dst[i] = src[i]`, rounded to a small float; `dst` may be `src`.
pub type RoundFn = unsafe extern "C" fn(dst: *mut f32, src: *const f32, n: u64);

/// `dst[i] = prim(a[i], b[i])`, rounded to a small float; an operand that is null is `with` for each i. `dst` may be an
/// operand.
pub type RoundedFn = unsafe extern "C" fn(dst: *mut f32, a: *const f32, b: *const f32, n: u64, with: f32);

/// The code for one small float.
#[derive(Clone, Copy)]
pub struct SmallCode {
    pub widen: WidenFn,
    pub narrow: NarrowFn,
    pub round: RoundFn,
    /// In the order of [`BY_VALUE`].
    pub rounded: [RoundedFn; 4],
}

impl SmallCode {
    /// The code of a primitive whose result is rounded.
    pub fn rounded(&self, prim: Prim) -> Option<RoundedFn> {
        BY_VALUE.iter().position(|&p| p == prim).map(|i| self.rounded[i])
    }
}

/// Lanes of the longest vector.
const MAX_LANES: usize = 16;

/// The f32 of bits that stand zero-extended.
#[inline(always)]
fn of_bits<A: Arith>(a: &mut A, small: DType, bits: A::U) -> A::F {
    if small == DType::BF16 {
        let up = a.shl_by(bits, 16);
        return a.of_bits(up);
    }
    let magnitude = a.bits(0x7fff);
    let magnitude = a.uand(bits, magnitude);
    let sign = a.uxor(bits, magnitude);
    let sign = a.shl_by(sign, 16);
    let up = a.shl_by(magnitude, 13);
    let top = a.bits(0x1f << 23);
    let exponent = a.uand(up, top);
    // The bias differs by 112; the largest exponent is infinity's and NaN's.
    let bias = a.bits(112 << 23);
    let normal = a.uadd(up, bias);
    let special = a.uadd(normal, bias);
    let is_special = a.ueq(exponent, top);
    let normal = a.uselect(is_special, special, normal);
    // A subnormal counts units of 2^-24: added to 2^-14 as bits, of which it is then freed.
    let least = a.bits(113 << 23);
    let beside = a.uadd(up, least);
    let (beside, least) = (a.of_bits(beside), a.of_bits(least));
    let subnormal = a.sub(beside, least);
    let subnormal = a.to_bits(subnormal);
    let zero = a.bits(0);
    let is_subnormal = a.ueq(exponent, zero);
    let out = a.uselect(is_subnormal, subnormal, normal);
    let out = a.uor(out, sign);
    a.of_bits(out)
}

/// The nearest small float, ties to even, overflow to infinity; a NaN stays one.
#[inline(always)]
fn round<A: Arith>(a: &mut A, small: DType, x: A::F) -> A::F {
    if small == DType::BF16 {
        let bits = a.to_bits(x);
        let sum = nearest(a, bits, 16, 0);
        let keep = a.bits(0xffff_0000);
        let cut = a.uand(sum, keep);
        let cut = a.of_bits(cut);
        return or_nan(a, x, cut);
    }
    // Beside 1.5 * 2^13 times its power of two, x keeps ten bits after the first; from 2^-14 down the unit is 2^-24.
    // What is far beyond the largest f16 need not be exact.
    let bits = a.to_bits(x);
    let exponent = a.bits(0xff << 23);
    let power = a.uand(bits, exponent);
    let power = a.of_bits(power);
    let (least, most) = (a.num(2f64.powi(-14)), a.num(65536.0));
    let power = a.at_least(power, least);
    let power = a.at_most(power, most);
    let scale = a.num(1.5 * 8192.0);
    let beside = a.mul(power, scale);
    let sum = a.add(x, beside);
    let r = a.sub(sum, beside);
    // From 2^16 on it is infinity.
    let (up, down) = (a.num(2f64.powi(112)), a.num(2f64.powi(-112)));
    let r = a.mul(r, up);
    let r = a.mul(r, down);
    // The difference of equals is +0.
    let sign = a.sign_of(x);
    let r = a.to_bits(r);
    let r = a.uor(r, sign);
    a.of_bits(r)
}

/// `bits` with half a unit added of those above the lowest `drop` (less one, if even), and a constant: what is then
/// above is rounded to nearest, ties to even.
#[inline(always)]
fn nearest<A: Arith>(a: &mut A, bits: A::U, drop: u32, constant: u64) -> A::U {
    let odd = a.shr_by(bits, drop);
    let one = a.bits(1);
    let odd = a.uand(odd, one);
    let half = a.bits(constant.wrapping_add((1 << (drop - 1)) - 1));
    let sum = a.uadd(bits, half);
    a.uadd(sum, odd)
}

#[inline(always)]
fn or_nan<A: Arith>(a: &mut A, x: A::F, otherwise: A::F) -> A::F {
    let nan = a.ne(x, x);
    a.select(nan, x, otherwise)
}

/// The bits of the nearest small float, zero-extended. NaNs become the canonical one; of f16, with their sign.
#[inline(always)]
fn to_bits<A: Arith>(a: &mut A, small: DType, x: A::F) -> A::U {
    let nan = a.ne(x, x);
    let bits = a.to_bits(x);
    if small == DType::BF16 {
        let sum = nearest(a, bits, 16, 0);
        let high = a.shr_by(sum, 16);
        let quiet = a.bits(0x7fc0);
        return a.uselect(nan, quiet, high);
    }
    let sign = a.sign_of(x);
    let magnitude = a.uxor(bits, sign);
    let ax = a.of_bits(magnitude);
    // The bias differs by 112. Rounding up may make an infinity.
    let normal = nearest(a, magnitude, 13, (112u64 << 23).wrapping_neg());
    let normal = a.shr_by(normal, 13);
    // Beside 1/2 the unit is 2^-24, and the last bits count it.
    let half = a.num(0.5);
    let sum = a.add(ax, half);
    let (sum, half) = (a.to_bits(sum), a.to_bits(half));
    let subnormal = a.usub(sum, half);
    let (least, most) = (a.num(2f64.powi(-14)), a.num(65536.0));
    let tiny = a.lt(ax, least);
    let out = a.uselect(tiny, subnormal, normal);
    let (large, infinity, quiet) = (a.le(most, ax), a.bits(0x7c00), a.bits(0x7e00));
    let out = a.uselect(large, infinity, out);
    let out = a.uselect(nan, quiet, out);
    let sign = a.shr_by(sign, 16);
    a.uor(out, sign)
}

/// # Safety
/// As [`WidenFn`]; the machine has the vectors' instruction set.
#[inline(always)]
pub unsafe fn widen<L: Lanes>(lanes: L, small: DType, dst: *mut f32, src: *const u16, n: u64) {
    let (mut lanes, n) = (lanes, n as usize);
    let full = n / L::COUNT * L::COUNT;
    // SAFETY: whole groups are within n, the rest goes through arrays of a group's length.
    unsafe {
        for i in (0..full).step_by(L::COUNT) {
            let bits = lanes.load_half(src.add(i));
            let x = of_bits(&mut lanes, small, bits);
            lanes.store(x, dst.add(i));
        }
        if full < n {
            let (mut from, mut to) = ([0; MAX_LANES], [0.0; MAX_LANES]);
            std::ptr::copy_nonoverlapping(src.add(full), from.as_mut_ptr(), n - full);
            let bits = lanes.load_half(from.as_ptr());
            let x = of_bits(&mut lanes, small, bits);
            lanes.store(x, to.as_mut_ptr());
            std::ptr::copy_nonoverlapping(to.as_ptr(), dst.add(full), n - full);
        }
    }
}

/// # Safety
/// As [`NarrowFn`]; the machine has the vectors' instruction set.
#[inline(always)]
pub unsafe fn narrow<L: Lanes>(lanes: L, small: DType, dst: *mut u16, src: *const f32, n: u64) {
    let (mut lanes, n) = (lanes, n as usize);
    let full = n / L::COUNT * L::COUNT;
    // SAFETY: as in [`widen`].
    unsafe {
        for i in (0..full).step_by(L::COUNT) {
            let x = lanes.load(src.add(i));
            let bits = to_bits(&mut lanes, small, x);
            lanes.store_half(bits, dst.add(i));
        }
        if full < n {
            let (mut from, mut to) = ([0.0; MAX_LANES], [0; MAX_LANES]);
            std::ptr::copy_nonoverlapping(src.add(full), from.as_mut_ptr(), n - full);
            let x = lanes.load(from.as_ptr());
            let bits = to_bits(&mut lanes, small, x);
            lanes.store_half(bits, to.as_mut_ptr());
            std::ptr::copy_nonoverlapping(to.as_ptr(), dst.add(full), n - full);
        }
    }
}

/// # Safety
/// As [`RoundFn`]; the machine has the vectors' instruction set.
#[inline(always)]
pub unsafe fn round_each<L: Lanes>(lanes: L, small: DType, dst: *mut f32, src: *const f32, n: u64) {
    #[inline(always)]
    unsafe fn group<L: Lanes>(lanes: L, small: DType, dst: *mut f32, src: *const f32) {
        let mut lanes = lanes;
        // SAFETY: the caller's promise.
        unsafe {
            let x = lanes.load(src);
            let r = round(&mut lanes, small, x);
            // Arithmetic has made a signalling NaN quiet.
            let r = or_nan(&mut lanes, x, r);
            lanes.store(r, dst);
        }
    }
    let n = n as usize;
    let full = n / L::COUNT * L::COUNT;
    // SAFETY: as in [`widen`].
    unsafe {
        for i in (0..full).step_by(L::COUNT) {
            group(lanes, small, dst.add(i), src.add(i));
        }
        if full < n {
            let mut rest = [0.0; MAX_LANES];
            std::ptr::copy_nonoverlapping(src.add(full), rest.as_mut_ptr(), n - full);
            group(lanes, small, rest.as_mut_ptr(), rest.as_ptr());
            std::ptr::copy_nonoverlapping(rest.as_ptr(), dst.add(full), n - full);
        }
    }
}

/// A primitive and its rounding; operands as in [`RoundedFn`].
#[derive(Clone, Copy)]
pub struct Rounded {
    pub prim: Prim,
    pub small: DType,
    pub a: *const f32,
    pub b: *const f32,
    pub with: f32,
}

/// # Safety
/// As [`RoundedFn`]; the machine has the vectors' instruction set.
#[inline(always)]
pub unsafe fn rounded_each<L: Lanes>(lanes: L, what: Rounded, dst: *mut f32, n: u64) {
    #[inline(always)]
    unsafe fn group<L: Lanes>(
        lanes: L,
        what: Rounded,
        dst: *mut f32,
        a: Option<*const f32>,
        b: Option<*const f32>,
    ) {
        let mut lanes = lanes;
        let all = lanes.num(what.with.into());
        // SAFETY: the caller's promise.
        unsafe {
            let x = if let Some(a) = a { lanes.load(a) } else { all };
            let y = if let Some(b) = b { lanes.load(b) } else { all };
            let v = apply(&mut lanes, what.prim, x, y);
            let r = round(&mut lanes, what.small, v);
            lanes.store(r, dst);
        }
    }
    let n = n as usize;
    let full = n / L::COUNT * L::COUNT;
    let (a, b) = ((!what.a.is_null()).then_some(what.a), (!what.b.is_null()).then_some(what.b));
    // SAFETY: as in [`widen`].
    unsafe {
        for i in (0..full).step_by(L::COUNT) {
            group(lanes, what, dst.add(i), a.map(|a| a.add(i)), b.map(|b| b.add(i)));
        }
        if full < n {
            let mut rest = [[0.0; MAX_LANES]; 3];
            let [x, y, out] = &mut rest;
            let [a, b] = [(a, x), (b, y)].map(|(from, to)| {
                let from = from?;
                std::ptr::copy_nonoverlapping(from.add(full), to.as_mut_ptr(), n - full);
                Some(to.as_ptr())
            });
            group(lanes, what, out.as_mut_ptr(), a, b);
            std::ptr::copy_nonoverlapping(out.as_ptr(), dst.add(full), n - full);
        }
    }
}

/// The code for both small floats on a level's vectors.
macro_rules! tile_small {
    ($lanes:expr, $feature:literal, $($name:ident $dtype:ident),*) => {
        pub fn small(dtype: mlc_ir::DType) -> Option<$crate::tile::SmallCode> {
            Some(match dtype {
                $(mlc_ir::DType::$dtype => $name::CODE,)*
                _ => return None,
            })
        }

        $(mod $name {
            use mlc_ir::DType;
            use super::*;
            use $crate::tile::small;

            pub const CODE: small::SmallCode =
                small::SmallCode { widen, narrow, round, rounded: [add, sub, mul, div] };

            /// # Safety
            /// As [`WidenFn`](small::WidenFn); the machine has the instruction set.
            #[target_feature(enable = $feature)]
            unsafe extern "C" fn widen(dst: *mut f32, src: *const u16, n: u64) {
                // SAFETY: the caller's promise.
                unsafe { small::widen($lanes, DType::$dtype, dst, src, n) }
            }

            /// # Safety
            /// As [`NarrowFn`](small::NarrowFn); the machine has the instruction set.
            #[target_feature(enable = $feature)]
            unsafe extern "C" fn narrow(dst: *mut u16, src: *const f32, n: u64) {
                // SAFETY: the caller's promise.
                unsafe { small::narrow($lanes, DType::$dtype, dst, src, n) }
            }

            /// # Safety
            /// As [`RoundFn`](small::RoundFn); the machine has the instruction set.
            #[target_feature(enable = $feature)]
            unsafe extern "C" fn round(dst: *mut f32, src: *const f32, n: u64) {
                // SAFETY: the caller's promise.
                unsafe { small::round_each($lanes, DType::$dtype, dst, src, n) }
            }

            $crate::tile::small::tile_rounded!($lanes, $feature, $dtype, add Add, sub Sub, mul Mul, div Div);
        })*
    };
}
pub(super) use tile_small;

macro_rules! tile_rounded {
    ($lanes:expr, $feature:literal, $dtype:ident, $($name:ident $prim:ident),*) => {$(
        /// # Safety
        /// As [`RoundedFn`](small::RoundedFn); the machine has the instruction set.
        #[target_feature(enable = $feature)]
        unsafe extern "C" fn $name(dst: *mut f32, a: *const f32, b: *const f32, n: u64, with: f32) {
            let (prim, small) = (mlc_ir::loops::Prim::$prim, DType::$dtype);
            // SAFETY: the caller's promise.
            unsafe { small::rounded_each($lanes, small::Rounded { prim, small, a, b, with }, dst, n) }
        }
    )*};
}
pub(super) use tile_rounded;
