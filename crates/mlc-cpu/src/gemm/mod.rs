//! Contractions: operands that are plain strided matrices are read where they lie, others are evaluated into
//! working memory first; a [`Gemm`] multiplies; an epilogue that does more than store runs over the products.
//!
//! Which [`Gemm`]: `canonical` where the kernel asks for R7 (strict mode: always), else the `gemm` crate for f32
//! and f64.

mod canonical;
mod kernel;
mod micro;
mod vendor;

use mlc_ir::DType;
use mlc_ir::loops::Rounding;

pub use kernel::{ContractKernel, Parts, parts};

use crate::features::CpuFeatures;

/// A matrix to read: `rows` along m or n, columns along k.
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

/// Untyped matrices of one product.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    pub dtype: DType,
    /// m, n, k.
    pub extents: [usize; 3],
    pub lhs: Matrix<u8>,
    pub rhs: Matrix<u8>,
    pub out: MatrixMut<u8>,
}

/// One way to multiply matrices.
pub trait Gemm: Send + Sync {
    /// For reports and plans.
    fn name(&self) -> &'static str;

    fn supports(&self, dtype: DType, rounding: &Rounding) -> bool;

    /// Bytes of working memory.
    fn scratch_bytes(&self, dtype: DType, extents: [usize; 3]) -> u64;

    /// Multiplies. Strides are in elements.
    ///
    /// # Safety
    /// The matrices are valid for the extents, the output overlaps neither operand, and `scratch` has
    /// [`Gemm::scratch_bytes`], aligned to 64.
    unsafe fn run(&self, cpu: CpuFeatures, product: &Product, scratch: *mut u8);
}

/// The way for a contraction. Canonical does all dtypes and is always allowed.
pub fn choose(dtype: DType, rounding: &Rounding, strict: bool) -> &'static dyn Gemm {
    let vendor: &'static dyn Gemm = &vendor::Vendor;
    if !strict && vendor.supports(dtype, rounding) { vendor } else { &Canonical }
}

/// R7.
pub struct Canonical;

impl Gemm for Canonical {
    fn name(&self) -> &'static str {
        "canonical"
    }

    fn supports(&self, _: DType, _: &Rounding) -> bool {
        true
    }

    fn scratch_bytes(&self, dtype: DType, _: [usize; 3]) -> u64 {
        canonical::scratch_elements() * dtype.size() as u64
    }

    unsafe fn run(&self, cpu: CpuFeatures, p: &Product, scratch: *mut u8) {
        macro_rules! by_type {
            ($($d:ident $t:ty),*) => {
                match p.dtype {
                    $(DType::$d => {
                        let (lhs, rhs, out) = (p.lhs.typed::<$t>(), p.rhs.typed(), p.out.typed());
                        // SAFETY: the caller's promise; the element type is the dtype's.
                        unsafe { canonical::run(cpu, p.extents, lhs, rhs, out, scratch.cast()) }
                    })*
                    // A contraction's `acc` is f32, f64 or an integer; `parts` refuses others.
                    DType::F16 | DType::BF16 | DType::Bool => {}
                }
            };
        }
        by_type!(F64 f64, F32 f32, I64 i64, I32 i32, I16 i16, I8 i8, U8 u8, U32 u32, U64 u64)
    }
}

impl Matrix<u8> {
    fn typed<T>(self) -> Matrix<T> {
        Matrix { base: self.base.cast(), row: self.row, col: self.col }
    }
}

impl MatrixMut<u8> {
    fn typed<T>(self) -> MatrixMut<T> {
        MatrixMut { base: self.base.cast(), row: self.row, col: self.col }
    }
}
