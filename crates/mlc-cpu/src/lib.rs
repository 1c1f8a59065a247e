//! The CPU back end: loop IR to machine code through Cranelift, contractions, tile primitives.
//!
//! Input: a [`Plan`](mlc_ir::loops::Plan). Output: a [`HostExecutable`](mlc_runtime::exec::HostExecutable).
//!
//! | module | what it does |
//! |---|---|
//! | [`features`] | instruction sets, found at run time |
//! | `shape` | merges axes |
//! | `schedule` | cuts kernels into phases and chunks |
//! | `emit` | bodies to CLIF |
//! | [`jit`] | CLIF to machine code |
//! | `link`, `symbols` | machine code into memory; what it may call |
//! | [`store`], `object` | compiled functions, each once; as object files in artifacts |
//! | `tile` | functions on tiles of 256 elements, precompiled |
//! | [`gemm`] | contractions |
//! | [`backend`] | plans to executables |
//! | [`calibrate`] | measures the machine for the table of costs |
//!
//! Invariants: every kernel's result is bit for bit the loop interpreter's (NaNs count as equal) on every
//! instruction set, except contractions that may round freely; no instruction traps and no access is out of
//! bounds, whatever the data.

pub mod backend;
pub mod calibrate;
mod emit;
pub mod features;
pub mod gemm;
pub mod jit;
mod kernel;
mod link;
mod object;
mod schedule;
mod shape;
pub mod store;
mod symbols;
mod tile;
mod vector;

pub use backend::{CpuBackend, CpuOptions};
pub use features::{CpuFeatures, Level};
pub use jit::Text;
pub use schedule::{Costs, Multiply};
pub use store::{Exported, ExportedFunction};
pub use tile::accuracy::worst_error;

#[cfg(test)]
mod tests;
