//! Philox4x32-10: counter-based random bits. Each output word is a pure function of key and counter, so the
//! numbers do not depend on devices, threads or the order of evaluation.

use super::arith::Arith;

const M0: u64 = 0xD251_1F53;
const M1: u64 = 0xCD9E_8D57;
const W0: u64 = 0x9E37_79B9;
const W1: u64 = 0xBB67_AE85;

/// The four words for a key and a counter. `A::WIDTH` is 32.
#[inline(always)]
pub fn philox<A: Arith>(a: &mut A, mut key: [A::U; 2], ctr: [A::U; 4]) -> [A::U; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = ctr;
    let (m0, m1) = (a.bits(M0), a.bits(M1));
    let (w0, w1) = (a.bits(W0), a.bits(W1));
    for round in 0..10 {
        if round > 0 {
            key = [a.uadd(key[0], w0), a.uadd(key[1], w1)];
        }
        let (h0, l0) = (a.umulhi(m0, c0), a.umul(m0, c0));
        let (h1, l1) = (a.umulhi(m1, c2), a.umul(m1, c2));
        let x = a.uxor(h1, c1);
        let n0 = a.uxor(x, key[0]);
        let x = a.uxor(h0, c3);
        let n2 = a.uxor(x, key[1]);
        (c0, c1, c2, c3) = (n0, l1, n2, l0);
    }
    [c0, c1, c2, c3]
}
