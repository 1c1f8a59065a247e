//! Datasets: from a [`DatasetSpec`](mlc_ir::program::DatasetSpec) to batches.
//!
//! [`Dataset::load`] opens the files and holds them against the declared types; [`Stream`] cuts a
//! dataset (or several, zipped) into batches in an order that a seed and the epoch's number define;
//! [`Loader`] hands them out, prepared ahead by a thread or one by one. Both ways give the same batches.
//!
//! ```text
//! DatasetSpec --load--> Dataset --(PipelineSpec)--> Stream --> Loader --> Batch, Batch, .., end of epoch, ..
//! ```
//! Invariants: nothing runs before every file has been checked; a [`Position`] alone says which batch
//! comes next, so that a run resumes with the batch it would have seen; after the first few batches
//! nothing is allocated.

mod batch;
mod check;
mod dataset;
mod loader;
mod order;
mod random;
mod source;
mod stream;

pub use batch::Batch;
pub use dataset::{Dataset, Field, LoadOptions};
pub use loader::{Loader, LoaderOptions};
pub use order::shuffled;
pub use random::tensor as random_tensor;
pub use source::{Source, Windows};
pub use stream::{Position, Stream, StreamOptions};

#[cfg(test)]
mod tests;
