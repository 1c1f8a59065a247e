//! The intermediate representations of mlc and what gives them meaning.
//!
//! - [`types`]: dtypes, symbolic dims, shapes, devices.
//! - [`program`]: what a program says beyond its graphs, such as its datasets.
//! - [`loops`]: the loop IR that kernels are written in, its verifier, text form and bit-exact interpreter.

pub mod loops;
pub mod program;
pub mod types;

pub use types::{DType, Device, DeviceKind};
