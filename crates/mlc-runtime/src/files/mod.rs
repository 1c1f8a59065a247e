//! Files of arrays: reading them whole or by key, and writing them.
//!
//! Input: paths. Output: [`HostTensor`]s, or one [`mlc_diag::Diagnostic`] (E07xx) that names
//! the file and what is wrong in it. Every reader checks all of a file's structure before it takes a
//! size from it at its word: memory is reserved only for data that the file's length can hold. Readers
//! of whole files share memory with the (mapped) file where its bytes are already elements.
//!
//! | format | reader | writer |
//! |---|---|---|
//! | idx | [`idx::read`] | |
//! | npy | [`npy::read`] | [`npy::write()`] |
//! | npz | [`npz::Npz`] | [`npz::write`] |
//! | safetensors | [`safetensors::SafetensorsFile`] | [`safetensors::write`] |
//! | csv | [`csv::read`] | |
//! | any bytes | [`read_bytes`] | [`atomic_write`] |
//!
//! Everything is read through gzip where the file's first bytes (for csv and plain bytes, its name) say so,
//! and the unpacked copy is kept
//! in a [`Cache`]. [`expand`] finds files by wildcards. Writers replace a file as a whole or leave it as it was.

mod atomic;
mod cache;
pub mod csv;
mod error;
mod glob;
mod gzip;
pub mod idx;
mod layout;
mod named;
pub mod npy;
pub mod npz;
mod open;
pub mod safetensors;

use std::path::Path;

use mlc_diag::Diagnostic;

pub use atomic::atomic_write;
pub use cache::Cache;
pub use glob::expand;
pub use named::{FileRef, from_memory, read_all, read_one, write_all};

use crate::host::{Bytes, HostTensor};

/// A file's bytes, unpacked if its name ends in `.gz`.
pub fn read_bytes(path: &Path, cache: &Cache) -> Result<Bytes, Diagnostic> {
    open::read_any(path, cache)
}

/// A file as `u8[length]`.
pub fn read_text(path: &Path, cache: &Cache) -> Result<HostTensor, Diagnostic> {
    let bytes = read_bytes(path, cache)?;
    let len = bytes.len();
    HostTensor::from_bytes(mlc_ir::DType::U8, &[len], bytes).map_err(|e| error::shape(&path.display(), e))
}

#[cfg(test)]
mod tests;
