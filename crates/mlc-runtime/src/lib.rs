//! What runs programs: tensors on the host, files, data.
//!
//! - [`host`]: tensors in host memory, aligned or mapped from a file.
//! - [`files`]: readers and writers of idx, npy, npz, safetensors, csv and text; the decoded cache.
//! - [`exec`]: what devices offer, plans that run, state.
//! - [`data`]: datasets, shuffling, batches, prefetching.
//! - [`train`]: the training loop, checkpoints, weights, the log.

pub mod data;
pub mod exec;
pub mod files;
pub mod host;
pub mod train;

pub use host::HostTensor;
