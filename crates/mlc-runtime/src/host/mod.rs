//! Tensors in host memory.
//!
//! [`Block`] owns memory; [`AlignedBuf`] is one of zeros, aligned to 64 bytes, that grows; [`Bytes`] a shared slice of
//! such a buffer, or of a mapped file; [`HostTensor`] gives a slice a dtype and a shape. Slicing, cloning and
//! reshaping copy nothing.

mod block;
mod buffer;
mod bytes;
mod cast;
mod element;
mod tensor;

pub use block::Block;
pub use buffer::AlignedBuf;
pub use bytes::Bytes;
pub use element::{Element, Number};
pub use tensor::{HostTensor, ShapeError, TensorView, checked_len};

pub(crate) use element::bytes_of;

/// The alignment of every buffer: a cache line, and the widest vector register.
pub const ALIGN: usize = 64;
