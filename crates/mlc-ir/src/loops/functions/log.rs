//! log, log1p, pow: x = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2).

use super::arith::Arith;
use super::exp::exp_of_pair;
use super::poly::{LOG, LOG_TAIL};

/// ln 2 with its lowest bits zero, so that k times it is exact; and the rest.
const LN2_SHORT_32: [f64; 2] = [0.693145751953125, 1.428606765330187e-6];
const LN2_SHORT_64: [f64; 2] = [0.6931471805598903, 5.497923018708371e-14];

/// k and m = 1 + f of a positive finite x.
#[inline(always)]
fn split<A: Arith>(a: &mut A, x: A::F) -> (A::F, A::F) {
    let frac = a.frac_bits();
    let tiny = a.pick(f32::MIN_POSITIVE.into(), f64::MIN_POSITIVE);
    let sub = a.lt(x, tiny);
    let up = a.pick(2f64.powi(25), 2f64.powi(54));
    let scaled = a.mul(x, up);
    let x = a.select(sub, scaled, x);
    let zero = a.num(0.0);
    let shift = a.pick(-25.0, -54.0);
    let k0 = a.select(sub, shift, zero);
    let b = a.to_bits(x);
    // Exponent of x / sqrt(1/2).
    let (one, root) = if A::WIDTH == 32 {
        (1f32.to_bits().into(), std::f32::consts::FRAC_1_SQRT_2.to_bits().into())
    } else {
        (1f64.to_bits(), std::f64::consts::FRAC_1_SQRT_2.to_bits())
    };
    let off = a.bits(one - root);
    let t = a.uadd(b, off);
    let t = a.shr_by(t, frac);
    let bias = a.bits(a.bias());
    let k = a.usub(t, bias);
    let kf = a.of_int(k);
    let kb = a.shl_by(k, frac);
    let mb = a.usub(b, kb);
    let m = a.of_bits(mb);
    (a.add(kf, k0), m)
}

/// log(2^k (1 + f) ) + c as one sum; c is small against f or comes alone.
#[inline(always)]
fn log_sum<A: Arith>(a: &mut A, k: A::F, f: A::F, c: A::F) -> A::F {
    let p = a.poly(&LOG, f);
    let ff = a.mul(f, f);
    let fp = a.mul(f, p);
    let mhalf = a.num(-0.5);
    let t = a.add(mhalf, fp);
    let hi = a.pick(LN2_SHORT_32[0], LN2_SHORT_64[0]);
    let lo = a.pick(LN2_SHORT_32[1], LN2_SHORT_64[1]);
    let kh = a.mul(k, hi);
    let (h, e) = a.fast_two_sum(kh, f);
    let c = a.fma(k, lo, c);
    let c = a.add(e, c);
    let c = a.fma(ff, t, c);
    a.add(h, c)
}

/// Values of log at 0, below 0 and at inf over `y`; NaN comes through `x + x`.
#[inline(always)]
fn specials<A: Arith>(a: &mut A, x: A::F, y: A::F) -> A::F {
    let zero = a.num(0.0);
    let inf = a.num(f64::INFINITY);
    let ninf = a.num(f64::NEG_INFINITY);
    let nan = a.num(f64::NAN);
    let c = a.eq(x, inf);
    let y = a.select(c, inf, y);
    let c = a.eq(x, zero);
    let y = a.select(c, ninf, y);
    let c = a.lt(x, zero);
    let y = a.select(c, nan, y);
    let c = a.ne(x, x);
    a.select(c, x, y)
}

#[inline(always)]
pub fn log<A: Arith>(a: &mut A, x: A::F) -> A::F {
    let (k, m) = split(a, x);
    let one = a.num(1.0);
    let f = a.sub(m, one);
    let zero = a.num(0.0);
    let y = log_sum(a, k, f, zero);
    specials(a, x, y)
}

#[inline(always)]
pub fn log1p<A: Arith>(a: &mut A, x: A::F) -> A::F {
    let one = a.num(1.0);
    let u = a.add(one, x);
    // 1 + x = u + c exactly.
    let above = a.lt(one, x);
    let big = a.select(above, x, one);
    let small = a.select(above, one, x);
    let t = a.sub(u, big);
    let c = a.sub(small, t);
    let (k, m) = split(a, u);
    let f = a.sub(m, one);
    let cu = a.div(c, u);
    let y = log_sum(a, k, f, cu);
    let y = specials(a, u, y);
    let ax = a.abs(x);
    let tiny = a.pick(2f64.powi(-25), 2f64.powi(-54));
    let c = a.lt(ax, tiny);
    a.select(c, x, y)
}

/// log(x) of a positive finite x as a sum of two, to about 36 (66) bits.
#[inline(always)]
fn log_pair<A: Arith>(a: &mut A, x: A::F) -> (A::F, A::F) {
    let (k, m) = split(a, x);
    let one = a.num(1.0);
    let two = a.num(2.0);
    let f = a.sub(m, one);
    let zero = a.num(0.0);
    // log(1 + f) = 2 atanh(s) = 2s + 2/3 s^3 + s^5 T(s^2), s = f / (2 + f).
    let d = a.fast_two_sum(two, f);
    let s = a.pair_div((f, zero), d);
    let s = a.fast_two_sum(s.0, s.1);
    let z = a.pair_mul(s, s);
    let t = a.poly(&LOG_TAIL, z.0);
    let c_hi = a.pick(0.6666666865348816, 2.0 / 3.0);
    let c_lo = a.pick(-1.9868215517249155e-8, 3.700743415417188e-17);
    let zt = a.mul(z.0, t);
    let c = a.fast_two_sum(c_hi, zt);
    let c = (c.0, a.add(c.1, c_lo));
    let w = a.pair_mul(z, s);
    let w = a.pair_mul(w, c);
    let s2 = (a.add(s.0, s.0), a.add(s.1, s.1));
    let (h, e) = a.fast_two_sum(s2.0, w.0);
    let l = a.add(s2.1, w.1);
    let l = a.add(e, l);
    // k ln 2: the upper part of the short constant is exact times k.
    let short = a.pick(LN2_SHORT_32[0], LN2_SHORT_64[0]);
    let rest = a.pick(LN2_SHORT_32[1], LN2_SHORT_64[1]);
    let rest_lo = a.pick(LN2_REST_LO_32, LN2_REST_LO_64);
    let kh = a.mul(k, short);
    let (kr, kre) = a.two_prod(k, rest);
    let kre = a.fma(k, rest_lo, kre);
    let (h1, e1) = a.fast_two_sum(kh, h);
    let (h2, e2) = a.two_sum(e1, kr);
    let e2 = a.add(e2, kre);
    let e2 = a.add(e2, l);
    let (m1, m2) = a.two_sum(h2, e2);
    let (h3, e3) = a.fast_two_sum(h1, m1);
    (h3, a.add(e3, m2))
}

/// What the two parts above still lack of ln 2.
const LN2_REST_LO_32: f64 = 5.497923148104107e-14;
const LN2_REST_LO_64: f64 = 1.94704509238075e-31;

#[inline(always)]
pub fn pow<A: Arith>(a: &mut A, x: A::F, y: A::F) -> A::F {
    let zero = a.num(0.0);
    let one = a.num(1.0);
    let inf = a.num(f64::INFINITY);
    let ninf = a.num(f64::NEG_INFINITY);
    let ax = a.abs(x);
    let (lh, ll) = log_pair(a, ax);
    let c = a.eq(ax, zero);
    let lh = a.select(c, ninf, lh);
    let ll = a.select(c, zero, ll);
    let c = a.eq(ax, inf);
    let lh = a.select(c, inf, lh);
    let ll = a.select(c, zero, ll);
    let c = a.eq(ax, one);
    let lh = a.select(c, zero, lh);
    let ll = a.select(c, zero, ll);
    let (ph, pl) = a.two_prod(y, lh);
    let pl = a.fma(y, ll, pl);
    // Beyond the exponents' range, and where y or the logarithm is infinite, only the upper part counts.
    let top = a.pick(128.0, 1024.0);
    let size = a.abs(ph);
    let c = a.lt(size, top);
    let pl = a.select(c, pl, zero);
    let r = exp_of_pair(a, ph, pl);
    // A negative base: the sign of an odd power; no value for a fractional one.
    let (whole, odd) = parity(a, y);
    let neg = a.neg(r);
    let signed = a.select(odd, neg, r);
    let sign = a.sign_of(x);
    let none = a.bits(0);
    let plus = a.ueq(sign, none);
    let r = a.select(plus, r, signed);
    let below = a.lt(x, zero);
    let finite = a.ne(ax, inf);
    let below = a.and(below, finite);
    let nan = a.num(f64::NAN);
    let whole_or = a.select(whole, r, nan);
    let r = a.select(below, whole_or, r);
    let c = a.ne(x, x);
    let r = a.select(c, x, r);
    let c = a.ne(y, y);
    let r = a.select(c, y, r);
    // (+-1)^(+-inf) = 1.
    let ay = a.abs(y);
    let c = a.eq(ax, one);
    let d = a.eq(ay, inf);
    let c = a.and(c, d);
    let r = a.select(c, one, r);
    let c = a.eq(x, one);
    let d = a.eq(y, zero);
    let c = a.or(c, d);
    a.select(c, one, r)
}

/// Whether y is an integer, and an odd one. Floats of 2^24 (2^53) and more are even integers.
#[inline(always)]
fn parity<A: Arith>(a: &mut A, y: A::F) -> (A::M, A::M) {
    let ay = a.abs(y);
    let limit = a.pick(2f64.powi(24), 2f64.powi(53));
    let large = a.le(limit, ay);
    let zero = a.num(0.0);
    let t = a.select(large, zero, y);
    let i = a.to_int(t);
    let back = a.of_int(i);
    let whole = a.eq(back, t);
    let one = a.bits(1);
    let bit = a.uand(i, one);
    let odd = a.ueq(bit, one);
    let odd = a.and(whole, odd);
    (whole, odd)
}
