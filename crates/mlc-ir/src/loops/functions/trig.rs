//! sin, cos, tan, atan2. Reduction of any argument: x = q pi/2 + r + r_lo, |r| <= pi/4.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, FRAC_PI_4, PI};

use super::arith::Arith;
use super::poly::{ATAN, COS, SIN, TWO_OVER_PI};

const PI_2_LO: [f64; 2] = [-4.371138828673793e-8, 6.123233995736766e-17];
const PI_2_LOW: [f64; 2] = [-1.7151245100058819e-15, -1.4973849048591698e-33];

#[inline(always)]
fn pi_2<A: Arith>(a: &mut A) -> (A::F, A::F) {
    (a.num(FRAC_PI_2), a.pick(PI_2_LO[0], PI_2_LO[1]))
}

struct Reduced<A: Arith> {
    /// The quadrant; its lower two bits count.
    q: A::U,
    r: A::F,
    lo: A::F,
}

#[inline(always)]
fn reduce<A: Arith>(a: &mut A, x: A::F) -> Reduced<A> {
    let ax = a.abs(x);
    let limit = a.pick(2f64.powi(16), 2f64.powi(20));
    // Also true for NaN and inf.
    let large = a.lt(limit, ax);
    let near = near(a, x);
    if !a.any(large) {
        return near;
    }
    let far = far(a, x);
    Reduced {
        q: a.uselect(large, far.q, near.q),
        r: a.select(large, far.r, near.r),
        lo: a.select(large, far.lo, near.lo),
    }
}

/// Cody and Waite: pi/2 in three parts; the first difference is exact, the second's error is kept.
#[inline(always)]
fn near<A: Arith>(a: &mut A, x: A::F) -> Reduced<A> {
    let c = a.num(FRAC_2_PI);
    let t = a.mul(x, c);
    let k = a.rint(t);
    let nk = a.neg(k);
    let (p1, p2) = pi_2(a);
    let p3 = a.pick(PI_2_LOW[0], PI_2_LOW[1]);
    let r0 = a.fma(nk, p1, x);
    let (m, me) = a.two_prod(nk, p2);
    let (r, e) = a.two_sum(r0, m);
    let me = a.fma(nk, p3, me);
    let e = a.add(e, me);
    let (r, lo) = a.fast_two_sum(r, e);
    Reduced { q: a.to_int(k), r, lo }
}

/// Payne and Hanek. Limbs have half the width L: |x| = M 2^e with M in two limbs; six limbs of 2/pi from bit
/// e - 1 on times M, modulo 2^(6L), are |x| 2/pi modulo 4.
#[inline(always)]
fn far<A: Arith>(a: &mut A, x: A::F) -> Reduced<A> {
    let frac = a.frac_bits();
    let limb = A::WIDTH / 2;
    let low = a.bits((1 << limb) - 1);
    let ax = a.abs(x);
    let b = a.to_bits(ax);
    let exp = a.shr_by(b, frac);
    let m = a.bits((1 << frac) - 1);
    let m = a.uand(b, m);
    let hidden = a.bits(1 << frac);
    let m = a.uor(m, hidden);
    let (m0, m1) = (a.uand(m, low), a.shr_by(m, limb));
    // Bit position in the table, which starts with two limbs of zeros: e - 2 + 2L, with e = exp - bias - frac.
    let pos = a.bits((2 * u64::from(limb)).wrapping_sub(2 + a.bias() + u64::from(frac)));
    let pos = a.uadd(exp, pos);
    let window = window(a, pos, limb);
    // Product modulo 2^(6L), lowest limb first. A product of limbs and two limbs more fit into the full width.
    let mut p = [a.bits(0); 6];
    for (shift, m) in [m0, m1].into_iter().enumerate() {
        let mut carry = a.bits(0);
        for j in shift..6 {
            let t = a.umul(m, window[5 + shift - j]);
            let t = a.uadd(t, carry);
            let t = a.uadd(t, p[j]);
            p[j] = a.uand(t, low);
            carry = a.shr_by(t, limb);
        }
    }
    let top = p[5];
    // Round to the nearest quadrant; a fraction of half and more becomes negative.
    let frac_mask = a.bits((1 << (limb - 2)) - 1);
    let q = a.shr_by(top, limb - 2);
    let half = a.shr_by(top, limb - 3);
    let one = a.bits(1);
    let half = a.uand(half, one);
    let q = a.uadd(q, half);
    let neg = a.ueq(half, one);
    let none = a.bits(0);
    let flip = a.uselect(neg, low, none);
    let mut parts = [a.num(0.0); 4];
    for (i, part) in parts.iter_mut().enumerate() {
        let limb_i = a.uxor(p[5 - i], flip);
        let limb_i = if i == 0 { a.uand(limb_i, frac_mask) } else { limb_i };
        let f = a.of_int(limb_i);
        let weight = a.num(2f64.powi(2 - (i as i32 + 1) * limb as i32));
        *part = a.mul(f, weight);
    }
    let (h, e1) = a.fast_two_sum(parts[0], parts[1]);
    let l = a.add(e1, parts[2]);
    let l = a.add(l, parts[3]);
    let (h, l) = a.fast_two_sum(h, l);
    let c = pi_2(a);
    let (r, lo) = a.pair_mul((h, l), c);
    // Signs: of the fraction, then of x, which also turns the quadrant.
    let (nr, nlo) = (a.neg(r), a.neg(lo));
    let r = a.select(neg, nr, r);
    let lo = a.select(neg, nlo, lo);
    let r = a.xor_sign(r, x);
    let lo = a.xor_sign(lo, x);
    let zero = a.num(0.0);
    let nq = a.usub(none, q);
    let below = a.lt(x, zero);
    let q = a.uselect(below, nq, q);
    // inf and NaN have no angle.
    let inf = a.num(f64::INFINITY);
    let finite = a.lt(ax, inf);
    let nan = a.num(f64::NAN);
    Reduced { q, r: a.select(finite, r, nan), lo }
}

/// Six limbs of the table from bit `pos` on, the highest first. `pos` of arguments that are not large may be
/// anything: the result is not used.
#[inline(always)]
fn window<A: Arith>(a: &mut A, pos: A::U, limb: u32) -> Vec<A::U> {
    let words = if limb == 16 { 16 } else { 42 };
    let mut t: Vec<A::U> = (0..words).map(|i| a.bits(table_limb(i, limb))).collect();
    let word = a.shr_by(pos, limb.trailing_zeros());
    let none = a.bits(0);
    // Moves the wanted limb to the front, one bit of its number after another.
    let mut step = words.next_power_of_two() / 2;
    while step > 0 {
        let bit = a.bits(step as u64);
        let bit = a.uand(word, bit);
        let stay = a.ueq(bit, none);
        let need = 7 + step - 1;
        t = (0..need.min(t.len()))
            .map(|i| match t.get(i + step) {
                Some(&next) => a.uselect(stay, t[i], next),
                None => t[i],
            })
            .collect();
        step /= 2;
    }
    let m = a.bits(u64::from(limb) - 1);
    let by = a.uand(pos, m);
    let width = a.bits(limb.into());
    let back = a.usub(width, by);
    let low = a.bits((1 << limb) - 1);
    (0..6)
        .map(|i| {
            let hi = a.shl(t[i], by);
            let lo = a.shr(t[i + 1], back);
            let both = a.uor(hi, lo);
            a.uand(both, low)
        })
        .collect()
}

/// Limb `i` of the table: two of zeros, then 2/pi.
fn table_limb(i: usize, limb: u32) -> u64 {
    let Some(i) = i.checked_sub(2) else { return 0 };
    if limb == 32 {
        return TWO_OVER_PI[i].into();
    }
    let word = TWO_OVER_PI[i / 2];
    u64::from(if i.is_multiple_of(2) { word >> 16 } else { word & 0xffff })
}

/// sin(r + lo), as (upper, lower).
#[inline(always)]
fn sin_pair<A: Arith>(a: &mut A, r: A::F, lo: A::F) -> (A::F, A::F) {
    let z = a.mul(r, r);
    let p = a.poly(&SIN, z);
    let rz = a.mul(r, z);
    // lo * cos r, as lo * (1 - z/2).
    let mhalf = a.num(-0.5);
    let hz = a.mul(mhalf, z);
    let lo = a.fma(lo, hz, lo);
    (r, a.fma(rz, p, lo))
}

/// cos(r + lo), as (upper, lower).
#[inline(always)]
fn cos_pair<A: Arith>(a: &mut A, r: A::F, lo: A::F) -> (A::F, A::F) {
    let (z, ze) = a.two_prod(r, r);
    let p = a.poly(&COS, z);
    let mhalf = a.num(-0.5);
    let one = a.num(1.0);
    let h = a.mul(mhalf, z);
    let (c, e) = a.fast_two_sum(one, h);
    let e = a.fma(mhalf, ze, e);
    let zz = a.mul(z, z);
    let e = a.fma(zz, p, e);
    let nr = a.neg(r);
    (c, a.fma(nr, lo, e))
}

/// Selects sin or cos of the reduced argument and its sign, for quadrant q.
#[inline(always)]
fn wave<A: Arith>(a: &mut A, d: &Reduced<A>, q: A::U) -> A::F {
    let (s, sl) = sin_pair(a, d.r, d.lo);
    let (c, cl) = cos_pair(a, d.r, d.lo);
    let s = a.add(s, sl);
    let c = a.add(c, cl);
    let one = a.bits(1);
    let odd = a.uand(q, one);
    let odd = a.ueq(odd, one);
    let y = a.select(odd, c, s);
    let two = a.bits(2);
    let sign = a.uand(q, two);
    let sign = a.shl_by(sign, A::WIDTH - 2);
    let b = a.to_bits(y);
    let b = a.uxor(b, sign);
    a.of_bits(b)
}

/// x where |x| is so small that sin, tan round to it: keeps -0 and subnormals.
#[inline(always)]
fn keep_tiny<A: Arith>(a: &mut A, x: A::F, y: A::F) -> A::F {
    let ax = a.abs(x);
    let tiny = a.pick(2f64.powi(-13), 2f64.powi(-27));
    let c = a.lt(ax, tiny);
    a.select(c, x, y)
}

#[inline(always)]
pub fn sin<A: Arith>(a: &mut A, x: A::F) -> A::F {
    let d = reduce(a, x);
    let y = wave(a, &d, d.q);
    keep_tiny(a, x, y)
}

#[inline(always)]
pub fn cos<A: Arith>(a: &mut A, x: A::F) -> A::F {
    let d = reduce(a, x);
    let one = a.bits(1);
    let q = a.uadd(d.q, one);
    wave(a, &d, q)
}

#[inline(always)]
pub fn tan<A: Arith>(a: &mut A, x: A::F) -> A::F {
    let d = reduce(a, x);
    let (s, sl) = sin_pair(a, d.r, d.lo);
    let (c, cl) = cos_pair(a, d.r, d.lo);
    let s = a.fast_two_sum(s, sl);
    let c = a.fast_two_sum(c, cl);
    let one = a.bits(1);
    let odd = a.uand(d.q, one);
    let odd = a.ueq(odd, one);
    // Odd quadrants: -cos / sin.
    let (ns, nsl) = (a.neg(s.0), a.neg(s.1));
    let n = (a.select(odd, c.0, s.0), a.select(odd, c.1, s.1));
    let den = (a.select(odd, ns, c.0), a.select(odd, nsl, c.1));
    let (q, e) = a.pair_div(n, den);
    let y = a.add(q, e);
    keep_tiny(a, x, y)
}

/// pi and its fractions as pairs.
const PI_LO: [f64; 2] = [-8.742277657347586e-8, 1.2246467991473532e-16];
const PI_4_LO: [f64; 2] = [-2.1855694143368964e-8, 3.061616997868383e-17];
const PI_3_4: f64 = 2.356194490192345;
const PI_3_4_LO: [f64; 2] = [-5.962440319251527e-9, 9.184850993605148e-17];

#[inline(always)]
pub fn atan2<A: Arith>(a: &mut A, y: A::F, x: A::F) -> A::F {
    let zero = a.num(0.0);
    let one = a.num(1.0);
    let inf = a.num(f64::INFINITY);
    let (ax, ay) = (a.abs(x), a.abs(y));
    let steep = a.lt(ax, ay);
    let small = a.select(steep, ax, ay);
    let big = a.select(steep, ay, ax);
    // inf: only the ratio's limit counts.
    let endless = a.eq(big, inf);
    let both = a.eq(small, inf);
    let limit = a.select(both, one, zero);
    let small = a.select(endless, limit, small);
    let big = a.select(endless, one, big);
    // Away from the ends of the exponents, so that sums and residuals are exact.
    let huge = a.pick(2f64.powi(100), 2f64.powi(900));
    let faint = a.pick(2f64.powi(-60), 2f64.powi(-900));
    let down = a.pick(2f64.powi(-64), 2f64.powi(-200));
    let up = a.pick(2f64.powi(64), 2f64.powi(160));
    let c = a.lt(huge, big);
    let f = a.select(c, down, one);
    let c = a.lt(big, faint);
    let f = a.select(c, up, f);
    let small = a.mul(small, f);
    let big = a.mul(big, f);
    // Above tan(pi/8): pi/4 + atan((small - big) / (small + big)).
    let eighth = a.num(0.4142135623730951);
    let edge = a.mul(big, eighth);
    let mid = a.lt(edge, small);
    let nbig = a.neg(big);
    let (nh, nl) = a.two_sum(small, nbig);
    let (dh, dl) = a.fast_two_sum(big, small);
    let n = (a.select(mid, nh, small), a.select(mid, nl, zero));
    let d = (a.select(mid, dh, big), a.select(mid, dl, zero));
    let (s, e) = a.pair_div(n, d);
    let origin = a.eq(big, zero);
    let s = a.select(origin, zero, s);
    let e = a.select(origin, zero, e);
    let (s, e) = a.fast_two_sum(s, e);
    let z = a.mul(s, s);
    let p = a.poly(&ATAN, z);
    let sz = a.mul(s, z);
    let e = a.fma(sz, p, e);
    // angle = base + sign * (s + e), by octant.
    let sign = a.sign_of(x);
    let none = a.bits(0);
    let right = a.ueq(sign, none);
    let minus = a.num(-1.0);
    let back = a.select(right, one, minus);
    let nback = a.neg(back);
    let turn = a.select(steep, nback, back);
    let base = octant(a, steep, mid, right, [0.0, FRAC_PI_4, FRAC_PI_2, PI, PI_3_4]);
    let los = |i: usize| [0.0, PI_4_LO[i], PI_2_LO[i], PI_LO[i], PI_3_4_LO[i]];
    let base_lo = octant(a, steep, mid, right, los(usize::from(A::WIDTH == 64)));
    let s = a.mul(s, turn);
    let e = a.mul(e, turn);
    let (h, l) = a.fast_two_sum(base, s);
    let l = a.add(l, base_lo);
    let l = a.add(l, e);
    let r = a.add(h, l);
    let r = a.xor_sign(r, y);
    let c = a.ne(x, x);
    let r = a.select(c, x, r);
    let c = a.ne(y, y);
    a.select(c, y, r)
}

/// The angle that the octant starts from: of `[0, pi/4, pi/2, pi, 3 pi/4]`.
#[inline(always)]
fn octant<A: Arith>(a: &mut A, steep: A::M, mid: A::M, right: A::M, v: [f64; 5]) -> A::F {
    let v = v.map(|x| a.num(x));
    let flat_right = a.select(mid, v[1], v[0]);
    let flat_left = a.select(mid, v[4], v[3]);
    let flat = a.select(right, flat_right, flat_left);
    let steep_mid = a.select(right, v[1], v[4]);
    let up = a.select(mid, steep_mid, v[2]);
    a.select(steep, up, flat)
}
