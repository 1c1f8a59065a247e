//! erf.

use super::arith::Arith;
use super::exp::one_minus_exp_of_pair;
use super::poly::{ERF, ERFC_LOG, ERFC_LOG_FAR, ERFC_LOG_MID};

/// log erfc|x| as a sum of two, for |x| from 0.9 to where erf rounds to 1.
#[inline(always)]
pub fn erf_begin<A: Arith>(a: &mut A, x: A::F) -> [A::F; 2] {
    let ax = a.abs(x);
    let top = a.pick(4.0, 6.0);
    let t = a.at_most(ax, top);
    let (g, lo) = erfc_log(a, t);
    [g, lo]
}

#[inline(always)]
pub fn erf_end<A: Arith>(a: &mut A, x: A::F, [g, lo]: [A::F; 2]) -> A::F {
    let ax = a.abs(x);
    // |x| <= 0.90625: x + x Q(x^2).
    let z = a.mul(x, x);
    let q = a.poly(&ERF, z);
    let near = a.fma(x, q, x);
    // Above: 1 - e^(log erfc|x|).
    let far = one_minus_exp_of_pair(a, g, lo);
    let far = a.xor_sign(far, x);
    let edge = a.num(0.90625);
    let c = a.lt(edge, ax);
    a.select(c, far, near)
}

/// log(erfc(t)) for t from 0.9 on.
#[inline(always)]
fn erfc_log<A: Arith>(a: &mut A, t: A::F) -> (A::F, A::F) {
    let mid = a.num(1.5);
    let u = a.sub(t, mid);
    let p = a.poly(&ERFC_LOG, u);
    let (s, e) = a.two_prod(u, p);
    let [narrow, wide] = ERFC_LOG_MID;
    let c = a.pick(narrow[0], wide[0]);
    let c_lo = a.pick(narrow[1], wide[1]);
    let (g, d) = a.two_sum(c, s);
    let e = a.add(e, c_lo);
    let lo = a.add(d, e);
    if A::WIDTH == 32 {
        return (g, lo);
    }
    let four = a.num(4.0);
    let far = a.lt(four, t);
    let mid = a.num(5.0);
    let u = a.sub(t, mid);
    let gf = a.poly(&ERFC_LOG_FAR, u);
    let zero = a.num(0.0);
    (a.select(far, gf, g), a.select(far, zero, lo))
}
