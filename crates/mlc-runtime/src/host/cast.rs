//! Conversions between dtypes, each rounded at most once.
//!
//! Float to float rounds to nearest even; float to integer truncates, saturates and takes NaN to 0;
//! integer to integer keeps the low bits; anything to bool asks whether it differs from zero.

use half::{bf16, f16};
use mlc_ir::DType;

use super::element::{Element, slice_of, slice_of_mut};

/// Runs the expression with `T` standing for the Rust type of a dtype other than bool.
macro_rules! with_element {
    ($dtype:expr, $t:ident => $body:expr, bool => $bool:expr) => {
        match $dtype {
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F16 => {
                type $t = f16;
                $body
            }
            DType::BF16 => {
                type $t = bf16;
                $body
            }
            DType::I64 => {
                type $t = i64;
                $body
            }
            DType::I32 => {
                type $t = i32;
                $body
            }
            DType::I16 => {
                type $t = i16;
                $body
            }
            DType::I8 => {
                type $t = i8;
                $body
            }
            DType::U8 => {
                type $t = u8;
                $body
            }
            DType::U32 => {
                type $t = u32;
                $body
            }
            DType::U64 => {
                type $t = u64;
                $body
            }
            DType::Bool => $bool,
        }
    };
}

/// Converts all of `src` into `dst`, which holds as many elements. Both are aligned to their dtype.
/// Returns whether lengths and alignment were right.
pub(super) fn convert(from: DType, src: &[u8], to: DType, dst: &mut [u8]) -> bool {
    if src.len() / from.size() != dst.len() / to.size() {
        return false;
    }
    with_element!(from, S => with_element!(to, D => numbers::<S, D>(src, dst), bool => to_bool::<S>(src, dst)),
        bool => with_element!(to, D => numbers::<u8, D>(src, dst), bool => { dst.copy_from_slice(src); true }))
}

fn numbers<S: Element, D: Element>(src: &[u8], dst: &mut [u8]) -> bool {
    let (Some(src), Some(dst)) = (slice_of::<S>(src), slice_of_mut::<D>(dst)) else { return false };
    for (d, s) in dst.iter_mut().zip(src) {
        *d = D::from_number(s.to_number());
    }
    true
}

fn to_bool<S: Element>(src: &[u8], dst: &mut [u8]) -> bool {
    let Some(src) = slice_of::<S>(src) else { return false };
    for (d, s) in dst.iter_mut().zip(src) {
        *d = u8::from(!s.to_number().is_zero());
    }
    true
}
