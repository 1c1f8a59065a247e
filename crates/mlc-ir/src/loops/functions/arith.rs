//! The operations that expansions are written in: the float primitives of one format, the bit operations of
//! the unsigned integer of the same width, and masks.
//!
//! One definition, many readers: an expansion is generic over [`Arith`]. [`Scalar32`] and [`Scalar64`] evaluate
//! it, [`super::Emit`] builds expressions from it, and a back end's vector primitives implement it on lanes.
//! Expansions are always inlined: compiled alone they would lack the instruction sets of the code that calls them.
//! Every method is one or two rows of [`crate::loops::scalar::PRIMS`], with exactly that meaning; then results
//! agree bit for bit.

use super::poly::Poly;

pub trait Arith {
    /// Floats of `WIDTH` bits.
    type F: Copy;
    /// Unsigned integers of `WIDTH` bits.
    type U: Copy;
    /// Truth values.
    type M: Copy;
    /// 32 or 64.
    const WIDTH: u32;

    /// The constant nearest to `x`.
    fn num(&mut self, x: f64) -> Self::F;
    fn add(&mut self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(&mut self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(&mut self, a: Self::F, b: Self::F) -> Self::F;
    fn div(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// a*b + c, rounded once.
    fn fma(&mut self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn neg(&mut self, a: Self::F) -> Self::F;
    fn abs(&mut self, a: Self::F) -> Self::F;
    /// `(a > b or a != a) ? a : b`
    fn max(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `(a < b or a != a) ? a : b`
    fn min(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `min(c, a)` for a constant that is no NaN: a NaN `a` stays.
    #[inline(always)]
    fn at_most(&mut self, a: Self::F, c: Self::F) -> Self::F {
        self.min(c, a)
    }
    /// `max(c, a)`, likewise.
    #[inline(always)]
    fn at_least(&mut self, a: Self::F, c: Self::F) -> Self::F {
        self.max(c, a)
    }
    /// y * 2^k for an integer k, rounded once where the result is subnormal: k is split in halves, of which the first
    /// product is exact. |k| is below twice the largest exponent; y is normal after the first product, or NaN as k is.
    #[inline(always)]
    fn scale(&mut self, y: Self::F, k: Self::F) -> Self::F
    where
        Self: Sized,
    {
        let i = self.to_int(k);
        let biases = self.bits(2 * self.bias());
        let both = self.uadd(i, biases);
        let first = self.shr_by(both, 1);
        let second = self.usub(both, first);
        let frac_bits = self.frac_bits();
        let (b1, b2) = (self.shl_by(first, frac_bits), self.shl_by(second, frac_bits));
        let (s1, s2) = (self.of_bits(b1), self.of_bits(b2));
        let y = self.mul(y, s1);
        self.mul(y, s2)
    }
    fn rint(&mut self, a: Self::F) -> Self::F;
    fn eq(&mut self, a: Self::F, b: Self::F) -> Self::M;
    /// True for NaN.
    fn ne(&mut self, a: Self::F, b: Self::F) -> Self::M;
    fn lt(&mut self, a: Self::F, b: Self::F) -> Self::M;
    fn le(&mut self, a: Self::F, b: Self::F) -> Self::M;
    fn select(&mut self, c: Self::M, a: Self::F, b: Self::F) -> Self::F;

    /// The integer constant `x mod 2^WIDTH`.
    fn bits(&mut self, x: u64) -> Self::U;
    fn uadd(&mut self, a: Self::U, b: Self::U) -> Self::U;
    fn usub(&mut self, a: Self::U, b: Self::U) -> Self::U;
    fn umul(&mut self, a: Self::U, b: Self::U) -> Self::U;
    fn uand(&mut self, a: Self::U, b: Self::U) -> Self::U;
    fn uor(&mut self, a: Self::U, b: Self::U) -> Self::U;
    fn uxor(&mut self, a: Self::U, b: Self::U) -> Self::U;
    /// The count is masked to the width.
    fn shl(&mut self, a: Self::U, n: Self::U) -> Self::U;
    /// Logical; the count is masked to the width.
    fn shr(&mut self, a: Self::U, n: Self::U) -> Self::U;
    /// Upper half of the product. Only used where `WIDTH` is 32.
    fn umulhi(&mut self, a: Self::U, b: Self::U) -> Self::U;
    fn ueq(&mut self, a: Self::U, b: Self::U) -> Self::M;
    fn uselect(&mut self, c: Self::M, a: Self::U, b: Self::U) -> Self::U;

    fn and(&mut self, a: Self::M, b: Self::M) -> Self::M;
    fn or(&mut self, a: Self::M, b: Self::M) -> Self::M;

    fn to_bits(&mut self, a: Self::F) -> Self::U;
    fn of_bits(&mut self, a: Self::U) -> Self::F;
    /// To the signed integer of this width, truncated, as bits. Expansions use the result only where `a` is in
    /// range: for other values, NaN included, any result will do.
    fn to_int(&mut self, a: Self::F) -> Self::U;
    /// From the signed integer of this width.
    fn of_int(&mut self, a: Self::U) -> Self::F;

    /// May answer false if no lane of `c` is set. What an expansion computes behind it is only ever selected
    /// by `c`, so the answer saves time and changes nothing. Straight-line readers keep the default.
    #[inline(always)]
    fn any(&mut self, _c: Self::M) -> bool {
        true
    }

    // ---- written once from the above ----

    /// `sum c[i] z^i` by Horner's rule in fma.
    #[inline(always)]
    fn poly(&mut self, p: &Poly, z: Self::F) -> Self::F {
        let c = if Self::WIDTH == 32 { p.f32 } else { p.f64 };
        let mut acc = self.num(*c.last().unwrap_or(&0.0));
        for &k in c.iter().rev().skip(1) {
            let k = self.num(k);
            acc = self.fma(acc, z, k);
        }
        acc
    }

    /// [`Arith::poly`] as two sums, of the even and of the odd powers, that do not wait for each other; `zz = z^2`.
    #[inline(always)]
    fn poly_by_halves(&mut self, p: &Poly, z: Self::F, zz: Self::F) -> Self::F {
        let c = if Self::WIDTH == 32 { p.f32 } else { p.f64 };
        let mut sums = [self.num(0.0); 2];
        for (i, &k) in c.iter().enumerate().rev() {
            let k = self.num(k);
            let sum = &mut sums[i % 2];
            *sum = if i + 2 < c.len() { self.fma(*sum, zz, k) } else { k };
        }
        self.fma(sums[1], z, sums[0])
    }

    /// The constant of this width: the first for 32 bits.
    #[inline(always)]
    fn pick(&mut self, f32: f64, f64: f64) -> Self::F {
        self.num(if Self::WIDTH == 32 { f32 } else { f64 })
    }

    #[inline(always)]
    fn shl_by(&mut self, a: Self::U, n: u32) -> Self::U {
        let n = self.bits(n.into());
        self.shl(a, n)
    }

    #[inline(always)]
    fn shr_by(&mut self, a: Self::U, n: u32) -> Self::U {
        let n = self.bits(n.into());
        self.shr(a, n)
    }

    /// Bits of the stored fraction: 23 or 52.
    #[inline(always)]
    fn frac_bits(&self) -> u32 {
        if Self::WIDTH == 32 { 23 } else { 52 }
    }

    #[inline(always)]
    fn bias(&self) -> u64 {
        if Self::WIDTH == 32 { 127 } else { 1023 }
    }

    /// 2^k, for `k` an integer as bits within the normal exponents.
    #[inline(always)]
    fn exp2_int(&mut self, k: Self::U) -> Self::F {
        let bias = self.bits(self.bias());
        let e = self.uadd(k, bias);
        let b = self.shl_by(e, self.frac_bits());
        self.of_bits(b)
    }

    /// `a` with the sign bit of `s` xored in.
    #[inline(always)]
    fn xor_sign(&mut self, a: Self::F, s: Self::F) -> Self::F {
        let sign = self.sign_of(s);
        let b = self.to_bits(a);
        let b = self.uxor(b, sign);
        self.of_bits(b)
    }

    /// The sign bit alone.
    #[inline(always)]
    fn sign_of(&mut self, a: Self::F) -> Self::U {
        let b = self.to_bits(a);
        let m = self.bits(1 << (Self::WIDTH - 1));
        self.uand(b, m)
    }

    /// (s, e) with s = a + b rounded and s + e = a + b exactly. Needs |a| >= |b| or a = 0.
    #[inline(always)]
    fn fast_two_sum(&mut self, a: Self::F, b: Self::F) -> (Self::F, Self::F) {
        let s = self.add(a, b);
        let t = self.sub(s, a);
        (s, self.sub(b, t))
    }

    /// As [`Arith::fast_two_sum`] for any a and b.
    #[inline(always)]
    fn two_sum(&mut self, a: Self::F, b: Self::F) -> (Self::F, Self::F) {
        let s = self.add(a, b);
        let bb = self.sub(s, a);
        let aa = self.sub(s, bb);
        let ea = self.sub(a, aa);
        let eb = self.sub(b, bb);
        (s, self.add(ea, eb))
    }

    /// (p, e) with p = a * b rounded and p + e = a * b exactly.
    #[inline(always)]
    fn two_prod(&mut self, a: Self::F, b: Self::F) -> (Self::F, Self::F) {
        let p = self.mul(a, b);
        let n = self.neg(p);
        (p, self.fma(a, b, n))
    }

    /// The product of two pairs, to about twice the format's precision.
    #[inline(always)]
    fn pair_mul(&mut self, a: (Self::F, Self::F), b: (Self::F, Self::F)) -> (Self::F, Self::F) {
        let (p, e) = self.two_prod(a.0, b.0);
        let e = self.fma(a.0, b.1, e);
        let e = self.fma(a.1, b.0, e);
        self.fast_two_sum(p, e)
    }

    /// The quotient of two pairs, not normalised: (rounded quotient, correction).
    #[inline(always)]
    fn pair_div(&mut self, n: (Self::F, Self::F), d: (Self::F, Self::F)) -> (Self::F, Self::F) {
        let q = self.div(n.0, d.0);
        let nq = self.neg(q);
        let r = self.fma(nq, d.0, n.0);
        let r = self.add(r, n.1);
        let r = self.fma(nq, d.1, r);
        (q, self.div(r, d.0))
    }
}

macro_rules! scalar {
    ($(#[$m:meta])* $name:ident, $f:ty, $u:ty, $i:ty, $width:literal) => {
        $(#[$m])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        impl Arith for $name {
            type F = $f;
            type U = $u;
            type M = bool;
            const WIDTH: u32 = $width;

            fn num(&mut self, x: f64) -> $f {
                x as $f
            }
            fn add(&mut self, a: $f, b: $f) -> $f {
                a + b
            }
            fn sub(&mut self, a: $f, b: $f) -> $f {
                a - b
            }
            fn mul(&mut self, a: $f, b: $f) -> $f {
                a * b
            }
            fn div(&mut self, a: $f, b: $f) -> $f {
                a / b
            }
            fn fma(&mut self, a: $f, b: $f, c: $f) -> $f {
                a.mul_add(b, c)
            }
            fn neg(&mut self, a: $f) -> $f {
                -a
            }
            fn abs(&mut self, a: $f) -> $f {
                a.abs()
            }
            fn max(&mut self, a: $f, b: $f) -> $f {
                if a > b || a.is_nan() { a } else { b }
            }
            fn min(&mut self, a: $f, b: $f) -> $f {
                if a < b || a.is_nan() { a } else { b }
            }
            fn rint(&mut self, a: $f) -> $f {
                a.round_ties_even()
            }
            fn eq(&mut self, a: $f, b: $f) -> bool {
                a == b
            }
            fn ne(&mut self, a: $f, b: $f) -> bool {
                a != b
            }
            fn lt(&mut self, a: $f, b: $f) -> bool {
                a < b
            }
            fn le(&mut self, a: $f, b: $f) -> bool {
                a <= b
            }
            fn select(&mut self, c: bool, a: $f, b: $f) -> $f {
                if c { a } else { b }
            }
            fn bits(&mut self, x: u64) -> $u {
                x as $u
            }
            fn uadd(&mut self, a: $u, b: $u) -> $u {
                a.wrapping_add(b)
            }
            fn usub(&mut self, a: $u, b: $u) -> $u {
                a.wrapping_sub(b)
            }
            fn umul(&mut self, a: $u, b: $u) -> $u {
                a.wrapping_mul(b)
            }
            fn uand(&mut self, a: $u, b: $u) -> $u {
                a & b
            }
            fn uor(&mut self, a: $u, b: $u) -> $u {
                a | b
            }
            fn uxor(&mut self, a: $u, b: $u) -> $u {
                a ^ b
            }
            fn shl(&mut self, a: $u, n: $u) -> $u {
                a.wrapping_shl(n as u32)
            }
            fn shr(&mut self, a: $u, n: $u) -> $u {
                a.wrapping_shr(n as u32)
            }
            fn umulhi(&mut self, a: $u, b: $u) -> $u {
                ((a as u128 * b as u128) >> $width) as $u
            }
            fn ueq(&mut self, a: $u, b: $u) -> bool {
                a == b
            }
            fn uselect(&mut self, c: bool, a: $u, b: $u) -> $u {
                if c { a } else { b }
            }
            fn and(&mut self, a: bool, b: bool) -> bool {
                a & b
            }
            fn or(&mut self, a: bool, b: bool) -> bool {
                a | b
            }
            fn to_bits(&mut self, a: $f) -> $u {
                a.to_bits()
            }
            fn of_bits(&mut self, a: $u) -> $f {
                <$f>::from_bits(a)
            }
            fn to_int(&mut self, a: $f) -> $u {
                a as $i as $u
            }
            fn of_int(&mut self, a: $u) -> $f {
                a as $i as $f
            }
            fn any(&mut self, c: bool) -> bool {
                c
            }
        }
    };
}

scalar!(
    /// Evaluates expansions in f32.
    Scalar32, f32, u32, i32, 32
);
scalar!(
    /// Evaluates expansions in f64.
    Scalar64, f64, u64, i64, 64
);
