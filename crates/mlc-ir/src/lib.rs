//! The intermediate representations of mlc and what gives them meaning.
//!
//! - [`types`]: dtypes, symbolic dims, shapes, devices.
//! - [`graph`]: the tensor graph of an entry; [`op`]: the op set with its type rules.
//! - [`program`]: a whole compiled file: entries, state, data and training specifications.
//! - [`eval`]: the f64 reference evaluator of graphs.
//! - [`loops`]: the loop IR that kernels are written in, its verifier, text form and bit-exact interpreter.
//! - [`testing`]: random typed graphs for property tests.
//! - [`lower`]: each op's way from the graph to the loop IR.
//! - [`mutate`]: deliberate mistakes for testing the tests.

pub mod eval;
pub mod graph;
pub mod loops;
pub mod lower;
pub mod mutate;
pub mod op;
pub mod program;
pub mod serial;
pub mod testing;
pub mod types;

pub use types::{Binding, DType, Device, DeviceKind, Dim, Shape, Symbol, Type};
