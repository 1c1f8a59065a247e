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

    #[inline]
    pub fn is_zero(self) -> bool {
        match self {
            Number::Float(x) => x == 0.0,
            Number::Int(i) => i == 0,
        }
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
    f16 => F16, |x| Number::Float(x.to_f64()), |n| f16::from_f64(n.to_f64());
    bf16 => BF16, |x| Number::Float(x.to_f64()), |n| bf16::from_f64(n.to_f64());
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
