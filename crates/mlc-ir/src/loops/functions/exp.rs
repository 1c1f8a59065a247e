//! exp, expm1, tanh, sigmoid: e^x = 2^k e^r with |r| <= ln 2 / 2.

use std::f64::consts::LOG2_E;

use super::arith::Arith;
use super::poly::{EXP, TANH};

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
    // Below this e^x rounds to 0. It is not computed: an operation whose result is too small for a normal number takes
    // some machines a hundred times as long, and rows of masked attention are half full of e^-inf.
    let least = a.pick(-104.0, -745.5);
    let none = a.lt(x, least);
    let zero = a.num(0.0);
    let x = a.select(none, zero, x);
    let most = a.pick(89.0, 710.0);
    let x = a.at_most(x, most);
    let (k, r, r_lo) = reduce(a, x);
    let p = a.poly(&EXP, r);
    let rr = a.mul(r, r);
    let q = a.fma(rr, p, r_lo);
    let y = a.add(r, q);
    let one = a.num(1.0);
    let y = a.add(one, y);
    let y = a.scale(y, k);
    a.select(none, zero, y)
}

/// e^(hi + lo), for pow.
#[inline(always)]
pub(super) fn exp_of_pair<A: Arith>(a: &mut A, hi: A::F, lo: A::F) -> A::F {
    let (h, l, k) = pair_exp(a, hi, lo);
    let y = a.add(h, l);
    a.scale(y, k)
}

/// 1 - e^(hi + lo), for erf; the power is normal and at most 1/2.
#[inline(always)]
pub(super) fn one_minus_exp_of_pair<A: Arith>(a: &mut A, hi: A::F, lo: A::F) -> A::F {
    let (h, l, k) = pair_exp(a, hi, lo);
    let h = a.scale(h, k);
    let l = a.scale(l, k);
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

/// What a power of two's exponent is added to, so that the sum has its biased exponent in the lowest bits.
const BIASED_32: f64 = 12_582_912.0 + 127.0;
const BIASED_64: f64 = 6_755_399_441_055_744.0 + 1023.0;

/// 2^k, of k + bias as [`split_exp`] gives it; within the normal exponents.
#[inline(always)]
fn biased_exp2<A: Arith>(a: &mut A, k: A::F) -> A::F {
    let bits = a.to_bits(k);
    let bits = a.shl_by(bits, a.frac_bits());
    a.of_bits(bits)
}

/// e^t = 2^k (1 + w) as (k + bias, w). Added to the bias, whose ulp is 1, k is rounded to an integer. For |t| below
/// twice the largest exponent.
#[inline(always)]
fn split_exp<A: Arith>(a: &mut A, t: A::F) -> (A::F, A::F) {
    let bias = a.pick(BIASED_32, BIASED_64);
    let log2e = a.num(LOG2_E);
    let biased = a.fma(t, log2e, bias);
    let k = a.sub(biased, bias);
    let nk = a.neg(k);
    let (hi, lo) = ln2(a);
    let exact = a.fma(nk, hi, t);
    let r = a.fma(nk, lo, exact);
    let lost = a.sub(exact, r);
    let r_lo = a.fma(nk, lo, lost);
    let rr = a.mul(r, r);
    let p = a.poly_by_halves(&EXP, r, rr);
    let q = a.fma(rr, p, r_lo);
    (biased, a.add(r, q))
}

/// e^2|x| as (2^k, w) with e^2|x| = 2^k (1 + w).
#[inline(always)]
pub fn tanh_begin<A: Arith>(a: &mut A, x: A::F) -> [A::F; 2] {
    let ax = a.abs(x);
    // From here on tanh rounds to 1.
    let top = a.pick(10.0, 20.0);
    let t = a.at_most(ax, top);
    let t = a.add(t, t);
    let (k, w) = split_exp(a, t);
    [biased_exp2(a, k), w]
}

#[inline(always)]
pub fn tanh_end<A: Arith>(a: &mut A, x: A::F, [s, w]: [A::F; 2]) -> A::F {
    // |x| <= 3/4: |x| + |x| z P(z) with z = x^2.
    let ax = a.abs(x);
    let z = a.mul(ax, ax);
    let p = a.poly(&TANH, z);
    let q = a.mul(z, p);
    let near = a.fma(ax, q, ax);
    // Above: 1 - 2 / (e^2|x| + 1). The quotient is at most 0.37, so that what its last place lacks hardly shows. Its
    // denominator is 2^k + 1 + 2^k w as a sum of two; 2^k + 1 is exact wherever its 1 matters.
    let one = a.num(1.0);
    let exact = a.add(s, one);
    let d = a.fma(s, w, exact);
    let lost = a.sub(exact, d);
    let d_lo = a.fma(s, w, lost);
    let two = a.num(2.0);
    let q = a.div(two, d);
    let nq = a.neg(q);
    let e = a.fma(nq, d, two);
    let e = a.fma(nq, d_lo, e);
    // And e / d, of which a few bits do.
    let half = a.num(0.5);
    let half_q = a.mul(half, q);
    let q = a.fma(e, half_q, q);
    let far = a.sub(one, q);
    let edge = a.num(0.75);
    let c = a.lt(edge, ax);
    let y = a.select(c, far, near);
    a.xor_sign(y, x)
}

/// e^-|x| as (k, w) with e^-|x| = 2^k (1 + w); k as [`split_exp`] gives it.
#[inline(always)]
pub fn sigmoid_begin<A: Arith>(a: &mut A, x: A::F) -> [A::F; 2] {
    let ax = a.abs(x);
    let nx = a.neg(ax);
    // Below, e^x is 0 anyway.
    let lowest = a.pick(-105.0, -746.0);
    let t = a.at_least(nx, lowest);
    let (k, w) = split_exp(a, t);
    [k, w]
}

#[inline(always)]
pub fn sigmoid_end<A: Arith>(a: &mut A, x: A::F, [k, w]: [A::F; 2]) -> A::F {
    // With z = e^-|x|: 1 / (1 + z) for x >= 0, z / (1 + z) below. Where z is subnormal the power of two is split, and
    // 1 + z does without the second part.
    let bias = a.pick(BIASED_32, BIASED_64);
    let normal = a.pick(BIASED_32 - 125.0, BIASED_64 - 1021.0);
    let k_normal = a.at_least(k, normal);
    let s = biased_exp2(a, k_normal);
    let k_rest = a.sub(k, k_normal);
    let k_rest = a.add(k_rest, bias);
    let s_rest = biased_exp2(a, k_rest);
    let z = a.fma(s, w, s);
    let lost = a.sub(s, z);
    let z_lo = a.fma(s, w, lost);
    let one = a.num(1.0);
    let (d, d_lo) = a.fast_two_sum(one, z);
    let d_lo = a.add(d_lo, z_lo);
    // 1 / (d + d_lo) = inverse (1 + e).
    let inverse = a.div(one, d);
    let negated = a.neg(inverse);
    let e = a.fma(negated, d, one);
    let e = a.fma(negated, d_lo, e);
    let zero = a.num(0.0);
    let below = a.lt(x, zero);
    let n = a.select(below, z, one);
    let n_lo = a.select(below, z_lo, zero);
    let scale = a.select(below, s_rest, one);
    let (q, q_lo) = a.two_prod(n, inverse);
    let q_lo = a.fma(q, e, q_lo);
    let q_lo = a.fma(n_lo, inverse, q_lo);
    let y = a.add(q, q_lo);
    a.mul(y, scale)
}
