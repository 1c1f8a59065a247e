//! erf.

use super::arith::Arith;
use super::exp::expm1;
use super::poly::{ERF, ERFC_LOG, ERFC_LOG_FAR};

pub fn erf<A: Arith>(a: &mut A, x: A::F) -> A::F {
    let ax = a.abs(x);
    // |x| <= 1: x + x Q(x^2).
    let z = a.mul(x, x);
    let q = a.poly(&ERF, z);
    let near = a.fma(x, q, x);
    // Above: -(e^g - 1) with g = log erfc|x|; 1 from where erf rounds to it.
    let top = a.pick(4.0, 6.0);
    let t = a.min(ax, top);
    let c = a.num(1.5);
    let u = a.sub(t, c);
    let mut g = a.poly(&ERFC_LOG, u);
    if A::WIDTH == 64 {
        let four = a.num(4.0);
        let far = a.lt(four, t);
        let c = a.num(5.0);
        let u = a.sub(t, c);
        let gf = a.poly(&ERFC_LOG_FAR, u);
        g = a.select(far, gf, g);
    }
    let e = expm1(a, g);
    let e = a.abs(e);
    let far = a.xor_sign(e, x);
    let edge = a.num(1.0);
    let c = a.lt(edge, ax);
    a.select(c, far, near)
}
