//! exp, expm1, tanh, sigmoid: e^x = 2^k e^r with |r| <= ln 2 / 2.

use std::f64::consts::LOG2_E;

use super::arith::Arith;
use super::poly::EXP;

/// ln 2 as a sum of two constants; the upper part times an integer exponent subtracts exactly by fma.
const LN2_32: [f64; 2] = [0.6931471824645996, -1.9046542121259336e-9];
const LN2_64: [f64; 2] = [std::f64::consts::LN_2, 2.3190468138462996e-17];

#[inline(always)]
fn ln2<A: Arith>(a: &mut A) -> (A::F, A::F) {
    (a.pick(LN2_32[0], LN2_64[0]), a.pick(LN2_32[1], LN2_64[1]))
}

/// k, r and r's rounding error, with x = k ln 2 + r + error.
#[inline(always)]
fn reduce<A: Arith>(a: &mut A, x: A::F) -> (A::F, A::F, A::F) {
    let log2e = a.num(LOG2_E);
    let t = a.mul(x, log2e);
    let k = a.rint(t);
    let nk = a.neg(k);
    let (hi, lo) = ln2(a);
    let r0 = a.fma(nk, hi, x);
    let c = a.mul(k, lo);
    let r = a.sub(r0, c);
    let d = a.sub(r0, r);
    (k, r, a.sub(d, c))
}

/// e^(r + r_lo) as a sum of two: (upper, lower).
#[inline(always)]
fn exp_pair<A: Arith>(a: &mut A, r: A::F, r_lo: A::F) -> (A::F, A::F) {
    let one = a.num(1.0);
    let (h, e) = a.fast_two_sum(one, r);
    let p = a.poly(&EXP, r);
    let rr = a.mul(r, r);
    let q = a.fma(rr, p, r_lo);
    // The lower part's effect through e^r: r_lo * r is all that matters of the rest.
    let q = a.fma(r_lo, r, q);
    let l = a.add(e, q);
    a.fast_two_sum(h, l)
}

/// y * 2^k, with one rounding where the result is subnormal: k is split in halves, of which the first product is
/// exact. |k| below twice the largest exponent.
#[inline(always)]
fn scale<A: Arith>(a: &mut A, y: A::F, k: A::F) -> A::F {
    let i = a.to_int(k);
    let biases = a.bits(2 * a.bias());
    let both = a.uadd(i, biases);
    let first = a.shr_by(both, 1);
    let second = a.usub(both, first);
    let frac_bits = a.frac_bits();
    let (b1, b2) = (a.shl_by(first, frac_bits), a.shl_by(second, frac_bits));
    let (s1, s2) = (a.of_bits(b1), a.of_bits(b2));
    let y = a.mul(y, s1);
    a.mul(y, s2)
}

/// x brought into the range outside of which e^x is 0 or inf anyway. NaN stays.
#[inline(always)]
fn clamp<A: Arith>(a: &mut A, x: A::F) -> A::F {
    let hi = a.pick(89.0, 710.0);
    let lo = a.pick(-105.0, -746.0);
    let x = a.at_most(x, hi);
    a.at_least(x, lo)
}

#[inline(always)]
pub fn exp<A: Arith>(a: &mut A, x: A::F) -> A::F {
    let x = clamp(a, x);
    let (k, r, r_lo) = reduce(a, x);
    let p = a.poly(&EXP, r);
    let rr = a.mul(r, r);
    let q = a.fma(rr, p, r_lo);
    let y = a.add(r, q);
    let one = a.num(1.0);
    let y = a.add(one, y);
    scale(a, y, k)
}

/// e^(hi + lo), for pow.
#[inline(always)]
pub(super) fn exp_of_pair<A: Arith>(a: &mut A, hi: A::F, lo: A::F) -> A::F {
    let (h, l, k) = pair_exp(a, hi, lo);
    let y = a.add(h, l);
    scale(a, y, k)
}

/// 1 - e^(hi + lo), for erf; the power is normal and at most 1/2.
#[inline(always)]
pub(super) fn one_minus_exp_of_pair<A: Arith>(a: &mut A, hi: A::F, lo: A::F) -> A::F {
    let (h, l, k) = pair_exp(a, hi, lo);
    let h = scale(a, h, k);
    let l = scale(a, l, k);
    let one = a.num(1.0);
    let h = a.neg(h);
    let (y, e) = a.fast_two_sum(one, h);
    let e = a.sub(e, l);
    a.add(y, e)
}

/// e^(hi + lo) = (first + second) * 2^third.
#[inline(always)]
fn pair_exp<A: Arith>(a: &mut A, hi: A::F, lo: A::F) -> (A::F, A::F, A::F) {
    let hi = clamp(a, hi);
    let (k, r, r_lo) = reduce(a, hi);
    let r_lo = a.add(r_lo, lo);
    let (r, r_lo) = a.two_sum(r, r_lo);
    let (h, l) = exp_pair(a, r, r_lo);
    (h, l, k)
}

/// (e^x - 1) / 2 as a sum of two, k included; half, so that it stays finite where e^x is.
#[inline(always)]
fn half_expm1<A: Arith>(a: &mut A, x: A::F) -> (A::F, A::F) {
    let (k, r, r_lo) = reduce(a, x);
    let p = a.poly(&EXP, r);
    let rr = a.mul(r, r);
    let q = a.fma(rr, p, r_lo);
    let one = a.num(1.0);
    let k1 = a.sub(k, one);
    let lo = a.pick(-126.0, -1022.0);
    let k1 = a.at_least(k1, lo);
    let i = a.to_int(k1);
    let s = a.exp2_int(i);
    let half = a.num(0.5);
    let t = a.sub(s, half);
    let sr = a.mul(s, r);
    let (h, e) = a.two_sum(t, sr);
    // s - 1/2 is exact up to 2^24 (2^53); above, 1/2 or what is lost of it goes to the lower part.
    let d = a.sub(s, t);
    let lost = a.sub(d, half);
    let e = a.add(e, lost);
    (h, a.fma(s, q, e))
}

#[inline(always)]
pub fn expm1<A: Arith>(a: &mut A, x: A::F) -> A::F {
    let xc = clamp(a, x);
    let (h, l) = half_expm1(a, xc);
    let y = a.add(h, l);
    let two = a.num(2.0);
    let y = a.mul(y, two);
    // Below this e^x - 1 rounds to x; keeps -0 and subnormals exact.
    let tiny = a.pick(2f64.powi(-26), 2f64.powi(-55));
    let ax = a.abs(x);
    let small = a.lt(ax, tiny);
    a.select(small, x, y)
}

#[inline(always)]
pub fn tanh<A: Arith>(a: &mut A, x: A::F) -> A::F {
    // tanh|x| = (E - 1) / (E + 1) with E = e^2|x| >= 1 as a sum of two.
    let ax = a.abs(x);
    let top = a.pick(20.0, 40.0);
    let t = a.at_most(ax, top);
    let t = a.add(t, t);
    let (k, r, r_lo) = reduce(a, t);
    let (h, l) = exp_pair(a, r, r_lo);
    let i = a.to_int(k);
    let s = a.exp2_int(i);
    let (h, l) = (a.mul(h, s), a.mul(l, s));
    let one = a.num(1.0);
    let minus_one = a.num(-1.0);
    let (n, ne) = a.fast_two_sum(h, minus_one);
    let (d, de) = a.fast_two_sum(h, one);
    let (ne, de) = (a.add(ne, l), a.add(de, l));
    let y = a.pair_quotient((n, ne), (d, de));
    a.xor_sign(y, x)
}

#[inline(always)]
pub fn sigmoid<A: Arith>(a: &mut A, x: A::F) -> A::F {
    // With z = e^-|x|: 1 / (1 + z) for x >= 0, z / (1 + z) below.
    let ax = a.abs(x);
    let nx = a.neg(ax);
    let nx = clamp(a, nx);
    let (k, r, r_lo) = reduce(a, nx);
    let (h, l) = exp_pair(a, r, r_lo);
    let zh = scale(a, h, k);
    let zl = scale(a, l, k);
    let one = a.num(1.0);
    let zero = a.num(0.0);
    let (d, e) = a.fast_two_sum(one, zh);
    let e = a.add(e, zl);
    let neg = a.lt(x, zero);
    let n = a.select(neg, zh, one);
    let nl = a.select(neg, zl, zero);
    let (q, c) = a.pair_div((n, nl), (d, e));
    a.add(q, c)
}
