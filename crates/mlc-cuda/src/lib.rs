//! CUDA: which libraries and devices this machine has.
//!
//! Nothing is linked against CUDA; libraries are opened when they are asked for. A machine without them
//! gets an answer that says what was looked for and where, never a panic. There is no code generator
//! here yet: see `docs/ARCHITECTURE.md`.

mod probe;
mod search;

pub use probe::{Found, Gpu, Library, Probe, probe};
pub use search::folders;
