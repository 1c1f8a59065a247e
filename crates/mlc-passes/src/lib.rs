//! The passes of mlc over the tensor graph.
//!
//! Read [`pipeline`] first: it is the list of all passes in their order, with the reason for each
//! place. A pass is a type that implements [`Pass`]; [`PassManager`] alone runs, times, verifies and
//! dumps. Passes know neither syntax nor any backend.

pub mod bind;
pub mod cse;
pub mod dce;
pub mod differentiate;
mod manager;
mod pass;
pub mod pipeline;
pub mod place;
pub mod simplify;
#[cfg(test)]
mod tests;

pub use bind::Bind;
pub use cse::Cse;
pub use dce::Dce;
pub use differentiate::{Differentiate, differentiate};
pub use manager::{PassManager, Report, Timing};
pub use pass::{Decision, Pass, PassCx};
pub use place::{Crossing, Place, crossings};
pub use simplify::Simplify;
