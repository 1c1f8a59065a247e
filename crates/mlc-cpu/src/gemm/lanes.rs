//! Vectors of one element type, as the micro-kernels and packings use them.

use std::fmt::Debug;

use super::micro::Micro;
use crate::features::Level;

/// An element type of contractions.
pub trait Element: Copy + Debug + PartialEq + Send + Sync + 'static {
    const ZERO: Self;

    /// `self * b + c`: one rounding for floats, wrapping for integers.
    fn fma(self, b: Self, c: Self) -> Self;

    fn plus(self, b: Self) -> Self;

    /// The code for a level that the machine has.
    fn micro(level: Level) -> Micro<Self>;
}

/// A vector. Every operation but [`Lanes::N`] needs its instruction set.
pub trait Lanes: Copy {
    type T: Element;
    /// Elements.
    const N: usize;

    /// # Safety
    /// The machine has the instruction set.
    unsafe fn zero() -> Self;

    /// # Safety
    /// As [`Lanes::zero`]; there is an element.
    unsafe fn splat(from: *const Self::T) -> Self;

    /// # Safety
    /// As [`Lanes::zero`]; there are `N` elements.
    unsafe fn load(from: *const Self::T) -> Self;

    /// # Safety
    /// As [`Lanes::load`].
    unsafe fn store(self, to: *mut Self::T);

    /// `self * b + c` as [`Element::fma`].
    ///
    /// # Safety
    /// As [`Lanes::zero`].
    unsafe fn fma(self, b: Self, c: Self) -> Self;

    /// # Safety
    /// As [`Lanes::zero`].
    unsafe fn plus(self, b: Self) -> Self;
}

/// Vectors as plain arrays: what there is for integers and without vector instructions, and the model of wider
/// vectors in tests.
#[derive(Debug, Clone, Copy)]
pub struct Array<T, const N: usize>([T; N]);

impl<E: Element, const COUNT: usize> Lanes for Array<E, COUNT> {
    type T = E;
    const N: usize = COUNT;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Array([E::ZERO; COUNT])
    }

    #[inline(always)]
    unsafe fn splat(from: *const E) -> Self {
        // SAFETY: the caller's promise.
        Array([unsafe { *from }; COUNT])
    }

    #[inline(always)]
    unsafe fn load(from: *const E) -> Self {
        // SAFETY: the caller's promise.
        Array(unsafe { from.cast::<[E; COUNT]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut E) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[E; COUNT]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        let mut out = c;
        for ((o, a), b) in out.0.iter_mut().zip(self.0).zip(b.0) {
            *o = a.fma(b, *o);
        }
        out
    }

    #[inline(always)]
    unsafe fn plus(self, b: Self) -> Self {
        let mut out = self;
        for (o, b) in out.0.iter_mut().zip(b.0) {
            *o = o.plus(b);
        }
        out
    }
}
