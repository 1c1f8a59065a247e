//! Tensors in host memory.
//!
//! [`AlignedBuf`] is a zeroed allocation aligned to 64 bytes; [`Bytes`] a shared slice of one, or of a
//! mapped file; [`HostTensor`] gives such a slice a dtype and a shape. Slicing, cloning and reshaping
//! copy nothing.

mod buffer;
mod bytes;
mod cast;
mod element;
mod tensor;

pub use buffer::AlignedBuf;
pub use bytes::Bytes;
pub use element::{Element, Number};
pub use tensor::{HostTensor, ShapeError, TensorView, checked_len};

pub(crate) use element::bytes_of;

/// The alignment of every buffer: a cache line, and the widest vector register.
pub const ALIGN: usize = 64;
