//! The Rust types of elements, and views of their slices as bytes and back.

use half::{bf16, f16};
use mlc_ir::DType;

/// A Rust type that stands for a dtype. Bool has none: not every byte is a `bool`.
///
/// # Safety
/// Any bytes are a value of the type, it has no padding, its size is that of [`Element::DTYPE`] and
/// its alignment divides its size.
pub unsafe trait Element: Copy + Send + Sync + 'static {
    const DTYPE: DType;
    fn to_number(self) -> Number;
    fn from_number(n: Number) -> Self;
}

/// Every element exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Float(f64),
    Int(i128),
}

impl Number {
    #[inline]
    pub fn to_f64(self) -> f64 {
        match self {
            Number::Float(x) => x,
            Number::Int(i) => i as f64,
        }
    }

    /// Rounded to odd: of an inexact value's two neighbours, the one whose last bit is 1. Rounding that
    /// on to a dtype with at least two bits fewer is rounding the value itself, once. (`half`'s own
    /// conversions from f64 round twice, or drop low bits before they round.)
    #[inline]
    fn to_odd_f32(self) -> f32 {
        let x = match self {
            Number::Float(x) => x,
            Number::Int(i) => {
                let near = i as f64;
                let back = near as i128;
                f64::from_bits(to_odd(near.to_bits(), back == i, back.abs() < i.abs()))
            }
        };
        let near = x as f32;
        let back = f64::from(near);
        f32::from_bits(to_odd(near.to_bits().into(), back == x || x.is_nan(), back.abs() < x.abs()) as u32)
    }

    #[inline]
    pub fn is_zero(self) -> bool {
        match self {
            Number::Float(x) => x == 0.0,
            Number::Int(i) => i == 0,
        }
    }
}

/// The odd neighbour of a value whose nearest has these bits. The next larger magnitude has the next
/// larger bits, in every binary format.
#[inline]
fn to_odd(nearest: u64, exact: bool, nearest_is_smaller: bool) -> u64 {
    match (exact || nearest & 1 == 1, nearest_is_smaller) {
        (true, _) => nearest,
        (false, true) => nearest + 1,
        (false, false) => nearest - 1,
    }
}

macro_rules! element {
    ($($t:ty => $dtype:ident, $to:expr, $from:expr;)*) => {$(
        // SAFETY: a primitive number, or `half`'s transparent wrapper of a u16.
        unsafe impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            #[inline]
            fn to_number(self) -> Number {
                let to: fn($t) -> Number = $to;
                to(self)
            }
            #[inline]
            fn from_number(n: Number) -> $t {
                let from: fn(Number) -> $t = $from;
                from(n)
            }
        }
    )*};
    (ints $($t:ty => $dtype:ident;)*) => {
        element! { $($t => $dtype, |x| Number::Int(x as i128), |n| match n {
            // Saturating, NaN to 0; integers keep their low bits.
            Number::Float(x) => x as $t,
            Number::Int(i) => i as $t,
        };)* }
    };
}

element! {
    f64 => F64, Number::Float, |n| n.to_f64();
    f32 => F32, |x| Number::Float(f64::from(x)), |n| match n {
        Number::Float(x) => x as f32,
        Number::Int(i) => i as f32,
    };
    f16 => F16, |x| Number::Float(x.to_f64()), |n| f16::from_f32(n.to_odd_f32());
    bf16 => BF16, |x| Number::Float(x.to_f64()), |n| bf16::from_f32(n.to_odd_f32());
}
element! { ints i64 => I64; i32 => I32; i16 => I16; i8 => I8; u8 => U8; u32 => U32; u64 => U64; }

/// The memory of a slice.
pub(crate) fn bytes_of<T: Element>(slice: &[T]) -> &[u8] {
    // SAFETY: elements have no padding, so all bytes of the slice are initialised.
    unsafe { std::slice::from_raw_parts(slice.as_ptr().cast(), size_of_val(slice)) }
}

/// Bytes as elements; `None` where they are misaligned or not a whole number of elements.
pub(crate) fn slice_of<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    if !bytes.len().is_multiple_of(size_of::<T>()) || !bytes.as_ptr().cast::<T>().is_aligned() {
        return None;
    }
    // SAFETY: aligned, in bounds, and any bytes are elements.
    Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
}

/// As [`slice_of`], for writing.
pub(crate) fn slice_of_mut<T: Element>(bytes: &mut [u8]) -> Option<&mut [T]> {
    if !bytes.len().is_multiple_of(size_of::<T>()) || !bytes.as_ptr().cast::<T>().is_aligned() {
        return None;
    }
    // SAFETY: aligned, in bounds, exclusive, and any bytes are elements and the other way round.
    Some(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest of all finite values, ties to the even one; by trying them all.
    fn nearest(x: f64, value: impl Fn(u16) -> f64, infinity: u16) -> f64 {
        let mut best = 0;
        for bits in 0..infinity {
            let (d, least) = ((value(bits) - x.abs()).abs(), (value(best) - x.abs()).abs());
            if d < least || (d == least && bits % 2 == 0) {
                best = bits;
            }
        }
        value(best).copysign(x)
    }

    #[test]
    fn halves_are_rounded_once() {
        let near_ties = (0..200u32).flat_map(|i| {
            let tie = 1.0 + f64::from(2 * (i % 8) + 1) * 2f64.powi(if i % 2 == 0 { -8 } else { -11 });
            let scale = 2f64.powi((i as i32 % 25) - 20);
            [tie, tie + 2f64.powi(-40), tie - 2f64.powi(-40), tie + 2f64.powi(-52)].map(|t| t * scale)
        });
        for x in near_ties.chain([0.0, 5.9e-8, 2.9e-8, 3.1e-8, 65504.0, 1e-45]) {
            for x in [x, -x] {
                let n = Number::Float(x);
                let (h, b) = (f16::from_number(n).to_f64(), bf16::from_number(n).to_f64());
                assert_eq!(h, nearest(x, |b| f16::from_bits(b).to_f64(), 0x7c00), "{x}");
                assert_eq!(b, nearest(x, |b| bf16::from_bits(b).to_f64(), 0x7f80), "{x}");
            }
        }
        assert_eq!(f16::from_number(Number::Float(65520.0)), f16::INFINITY);
        assert_eq!(f16::from_number(Number::Float(65519.9999)), f16::MAX);
        assert_eq!(bf16::from_number(Number::Float(1e300)), bf16::INFINITY);
        assert!(f16::from_number(Number::Float(f64::NAN)).is_nan());
        // Half of the last place above 2^62, and one more: f64 alone would call it a tie.
        let tie = (1i128 << 62) + (1 << 54);
        assert_eq!(bf16::from_number(Number::Int(tie)).to_f64(), 2f64.powi(62));
        assert_eq!(bf16::from_number(Number::Int(tie + 1)).to_f64(), 2f64.powi(62) + 2f64.powi(55));
        assert_eq!(bf16::from_number(Number::Int(-tie - 1)).to_f64(), -(2f64.powi(62) + 2f64.powi(55)));
    }
}
