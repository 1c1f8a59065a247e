//! The mlc compiler as a library: compile an .mlg model, call it with arrays, train it.
//!
//! ```no_run
//! # fn main() -> Result<(), mlc::Error> {
//! # let images = ndarray::Array2::<f32>::zeros((8, 784));
//! let program = mlc::Compiler::new().target(mlc::Target::Cpu).compile_file("examples/simple_nn.mlg")?;
//! let mut session = program.session(mlc::Seed(0))?;
//! let logits = session.call("forward", [("x", images.view())])?;
//! println!("{:?}", logits.array::<f32>("out")?);
//! # Ok(())
//! # }
//! ```
//! A program can be written to a file with its code ([`Program::artifact`]) and run from it without being compiled
//! ([`Program::load`]). A compiled [`Program`] is shared by many [`Session`]s; a session is `Send` and has state of its own
//! (parameters, optimizer state, counters). Errors are [`Error`]s: diagnostics with the sources they
//! speak of, rendered by whoever shows them.

mod array;
mod artifact;
mod bound;
mod compiler;
pub mod costs;
mod emit;
mod error;
mod memory;
mod report;
mod session;
mod target;
#[cfg(feature = "testing")]
pub mod testing;
mod transfers;

pub use array::{Element, IntoTensor, Results};
pub use artifact::{ArtifactBuilder, EXTENSION as ARTIFACT_EXTENSION, Written, is_artifact};
pub use bound::{BoundEntry, Port};
pub use compiler::{Compiler, Program};
pub use emit::{EmitKind, emit_ast};
pub use error::Error;
pub use memory::{BatchRepair, MemoryRow, Unfit, alive_rows, blocker_text, part_name, recomputed_rows};
pub use report::{ParamRow, params};
pub use session::{Seed, Session, StepResult};
pub use target::{Target, cpu_description};

pub use mlc_cpu as cpu;
pub use mlc_cuda as cuda;
pub use mlc_diag as diag;
pub use mlc_frontend as frontend;
pub use mlc_ir as ir;
pub use mlc_passes as passes;
pub use mlc_runtime as runtime;
pub use mlc_runtime::HostTensor;
