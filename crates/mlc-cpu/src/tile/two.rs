//! Two vectors at a time. A function's expansion is one chain of operations, each of which waits for the one before;
//! two chains that alternate keep the units busy that one leaves idle, whatever window the machine has to look ahead.

use mlc_ir::loops::functions::Arith;

use super::Lanes;

/// [`Arith`] on twice as many lanes as `L`'s.
#[derive(Clone, Copy)]
pub struct Two<L>(pub L);

/// Methods that do to both halves what `L` does to one.
macro_rules! both {
    ($(fn $name:ident($($x:ident: $t:ident),*) -> $r:ident;)*) => {$(
        #[inline(always)]
        fn $name(&mut self $(, $x: Self::$t)*) -> Self::$r {
            (self.0.$name($($x.0),*), self.0.$name($($x.1),*))
        }
    )*};
}

impl<L: Arith> Arith for Two<L> {
    type F = (L::F, L::F);
    type U = (L::U, L::U);
    type M = (L::M, L::M);
    const WIDTH: u32 = L::WIDTH;

    #[inline(always)]
    fn num(&mut self, x: f64) -> Self::F {
        let all = self.0.num(x);
        (all, all)
    }

    #[inline(always)]
    fn bits(&mut self, x: u64) -> Self::U {
        let all = self.0.bits(x);
        (all, all)
    }

    #[inline(always)]
    fn any(&mut self, c: Self::M) -> bool {
        let either = self.0.or(c.0, c.1);
        self.0.any(either)
    }

    both! {
        fn add(a: F, b: F) -> F;
        fn sub(a: F, b: F) -> F;
        fn mul(a: F, b: F) -> F;
        fn div(a: F, b: F) -> F;
        fn fma(a: F, b: F, c: F) -> F;
        fn neg(a: F) -> F;
        fn abs(a: F) -> F;
        fn max(a: F, b: F) -> F;
        fn min(a: F, b: F) -> F;
        fn at_most(a: F, c: F) -> F;
        fn at_least(a: F, c: F) -> F;
        fn scale(y: F, k: F) -> F;
        fn rint(a: F) -> F;
        fn eq(a: F, b: F) -> M;
        fn ne(a: F, b: F) -> M;
        fn lt(a: F, b: F) -> M;
        fn le(a: F, b: F) -> M;
        fn select(c: M, a: F, b: F) -> F;
        fn uadd(a: U, b: U) -> U;
        fn usub(a: U, b: U) -> U;
        fn umul(a: U, b: U) -> U;
        fn uand(a: U, b: U) -> U;
        fn uor(a: U, b: U) -> U;
        fn uxor(a: U, b: U) -> U;
        fn shl(a: U, n: U) -> U;
        fn shr(a: U, n: U) -> U;
        fn umulhi(a: U, b: U) -> U;
        fn ueq(a: U, b: U) -> M;
        fn uselect(c: M, a: U, b: U) -> U;
        fn and(a: M, b: M) -> M;
        fn or(a: M, b: M) -> M;
        fn to_bits(a: F) -> U;
        fn of_bits(a: U) -> F;
        fn to_int(a: F) -> U;
        fn of_int(a: U) -> F;
    }
}

impl<L: Lanes> Lanes for Two<L> {
    const COUNT: usize = 2 * L::COUNT;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { (self.0.load(from), self.0.load(from.add(L::COUNT))) }
    }

    #[inline(always)]
    unsafe fn store(self, v: Self::F, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            self.0.store(v.0, to);
            self.0.store(v.1, to.add(L::COUNT));
        }
    }

    #[inline(always)]
    unsafe fn store_by_lane(self, v: [Self::F; 4], to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            self.0.store_by_lane(v.map(|v| v.0), to);
            self.0.store_by_lane(v.map(|v| v.1), to.add(4 * L::COUNT));
        }
    }

    #[inline(always)]
    unsafe fn load_half(self, from: *const u16) -> Self::U {
        // SAFETY: the caller's promise.
        unsafe { (self.0.load_half(from), self.0.load_half(from.add(L::COUNT))) }
    }

    #[inline(always)]
    unsafe fn store_half(self, v: Self::U, to: *mut u16) {
        // SAFETY: the caller's promise.
        unsafe {
            self.0.store_half(v.0, to);
            self.0.store_half(v.1, to.add(L::COUNT));
        }
    }
}
