//! The training loop: feeds batches to a compiled model, validates, logs, saves and resumes.
//!
//! ```text
//! Train + data --> [micro.. step] [micro.. step] .. | validate | .. --> reports, log, checkpoints, weights
//! ```
//! Under `accumulate` with several losses an update goes through its batches once for each loss that runs:
//! `[micro.. update, micro.. step]`.
//!
//! The loop knows entries by name and state by path ([`Engine`]); what a step computes is the
//! compiler's. A run that is resumed from a checkpoint continues bit for bit: state, data order,
//! random counters, early stopping.

mod checkpoint;
mod engine;
mod entries;
mod feed;
mod log;
mod report;
mod run;
mod save;
mod sums;
#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, Progress};
pub use engine::{Engine, Fed, Scalar};
pub use feed::epoch_inputs;
pub use report::{End, Observer, Planned, RunReport, Silent, StepReport, ValidationReport};
pub use run::{TrainOptions, load_initial, train, validate};
pub use save::{load_weights, load_weights_from, save_weights, weights_file};
