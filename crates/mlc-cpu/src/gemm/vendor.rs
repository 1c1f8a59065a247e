//! The `gemm` crate: fast, deterministic on one machine for any number of threads, in an order of its own.

use gemm::Parallelism;
use mlc_ir::DType;
use mlc_ir::loops::Rounding;

use super::{Gemm, Product};
use crate::features::CpuFeatures;

pub struct Vendor;

impl Gemm for Vendor {
    fn name(&self) -> &'static str {
        "gemm-0.19"
    }

    fn supports(&self, dtype: DType, rounding: &Rounding) -> bool {
        *rounding == Rounding::Free && matches!(dtype, DType::F32 | DType::F64)
    }

    fn scratch_bytes(&self, _: DType, _: [usize; 3]) -> u64 {
        // It keeps its packing buffers itself, one a thread.
        0
    }

    unsafe fn run(&self, _: CpuFeatures, p: &Product, _: *mut u8) {
        match p.dtype {
            // SAFETY: the caller's promise.
            DType::F64 => unsafe { multiply::<f64>(p, 0.0, 1.0) },
            // SAFETY: the caller's promise.
            _ => unsafe { multiply::<f32>(p, 0.0, 1.0) },
        }
    }
}

unsafe fn multiply<T: 'static>(p: &Product, zero: T, one: T) {
    let [m, n, k] = p.extents;
    let (lhs, rhs, out) = (p.lhs.typed::<T>(), p.rhs.typed::<T>(), p.out.typed::<T>());
    // SAFETY: the caller's promise. The right operand stands as n x k: its column stride is along n.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.base,
            out.col,
            out.row,
            false,
            lhs.base,
            lhs.col,
            lhs.row,
            rhs.base,
            rhs.row,
            rhs.col,
            zero,
            one,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
