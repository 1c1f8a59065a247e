//! The passes of mlc over the tensor graph.
//!
//! Read [`pipeline`] first: it is the list of all passes in their order, with the reason for each
//! place. A pass is a type that implements [`Pass`]; [`PassManager`] alone runs, times, verifies and
//! dumps. Passes know neither syntax nor any backend.

pub mod bind;
pub mod cse;
pub mod dce;
pub mod decompose;
pub mod differentiate;
mod entry;
pub mod form_kernels;
pub mod lower;
mod manager;
#[cfg(test)]
mod op_tests;
pub mod order;
mod pass;
pub mod pipeline;
pub mod place;
pub mod plan_memory;
pub mod remat;
pub mod residuals;
pub mod simplify;
pub mod sink;
#[cfg(test)]
mod tests;

pub use bind::Bind;
pub use cse::Cse;
pub use dce::Dce;
pub use decompose::Decompose;
pub use differentiate::{Differentiate, differentiate};
pub use entry::{Lowered, lower_entry, lower_entry_with, lower_entry_within, plan_text};
pub use form_kernels::Fusion;
pub use manager::{PassManager, Report, Timing};
pub use pass::{Decision, Pass, PassCx};
pub use place::{Crossing, Place, crossings};
pub use residuals::Residuals;
pub use simplify::Simplify;
pub use sink::Sink;
