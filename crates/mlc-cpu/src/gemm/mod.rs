//! Contractions: packed tiles, all in the canonical order R7, so that their bits are the interpreter's on every
//! instruction set and for every cut.
//!
//! | file | what it does |
//! |---|---|
//! | `operand`, `epilogue` | where elements come from and go: strided memory, or generated code over boxes |
//! | `blocking`, `cost` | cuts a shape into tiles |
//! | `kernel`, `run` | a contraction as a kernel; its chunks |
//! | `prepack` | a phase before them: operands that many tiles read |
//! | `pack` | copies of operands for micro-kernels |
//! | `tile` | one tile: panels, chunks of k |
//! | `micro`, `lanes`, `x86` | the innermost loops |
//! | `boxes` | ranges of positions as boxes |

mod blocking;
mod boxes;
mod cost;
mod epilogue;
mod kernel;
mod lanes;
mod micro;
mod operand;
mod pack;
mod prepack;
mod run;
#[cfg(test)]
mod tests;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use cost::{row_lanes, vector_elements};
pub use kernel::{ContractKernel, Parts, parts};

/// A matrix to read: rows along m or n, columns along k.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<T> {
    pub base: *const T,
    pub row: isize,
    pub col: isize,
}

#[derive(Debug, Clone, Copy)]
pub struct MatrixMut<T> {
    pub base: *mut T,
    pub row: isize,
    pub col: isize,
}

impl<T> Matrix<T> {
    /// The address of an element.
    #[inline(always)]
    pub fn at(&self, i: usize, j: usize) -> *const T {
        self.base.wrapping_offset(i as isize * self.row + j as isize * self.col)
    }

    #[inline(always)]
    pub fn shifted(self, i: usize, j: usize) -> Matrix<T> {
        Matrix { base: self.at(i, j), ..self }
    }
}

impl<T> MatrixMut<T> {
    /// The address of an element.
    #[inline(always)]
    pub fn at(&self, i: usize, j: usize) -> *mut T {
        self.base.wrapping_offset(i as isize * self.row + j as isize * self.col)
    }
}

/// The expression with `T` as the element type of a dtype that contractions accumulate in.
macro_rules! with_type {
    ($dtype:expr, $t:ident => $e:expr) => {
        $crate::gemm::with_type!(@ $dtype, $t, $e;
            F64 f64, F32 f32, I64 i64, I32 i32, I16 i16, I8 i8, U8 u8, U32 u32, U64 u64)
    };
    (@ $dtype:expr, $t:ident, $e:expr; $($d:ident $ty:ty),*) => {
        match $dtype {
            $(mlc_ir::DType::$d => {
                type $t = $ty;
                $e
            })*
            // L11, L13: products are f32, f64 or integers.
            mlc_ir::DType::F16 | mlc_ir::DType::BF16 | mlc_ir::DType::Bool => unreachable!("no type of products"),
        }
    };
}
use with_type;
