//! Elements as files lay them out: either byte order, row- or column-major, and the one width that mlc
//! has no dtype for (16 unsigned bits, widened to i32).

use std::fmt::Display;

use mlc_diag::Diagnostic;
use mlc_ir::DType;

use super::error;
use crate::host::{AlignedBuf, Bytes, HostTensor, ShapeError, checked_len};

/// An element type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Is(DType),
    /// Read as i32.
    U16,
}

/// How the elements lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub stored: Stored,
    pub big_endian: bool,
    pub column_major: bool,
}

impl Stored {
    pub fn size(self) -> usize {
        match self {
            Stored::Is(dtype) => dtype.size(),
            Stored::U16 => 2,
        }
    }

    /// Bytes of an array; `None` where they overflow.
    pub fn bytes(self, shape: &[usize]) -> Option<usize> {
        let same_size = match self {
            Stored::Is(dtype) => dtype,
            Stored::U16 => DType::I16,
        };
        Some(checked_len(shape, same_size)? * self.size())
    }
}

impl Layout {
    fn is_native(self) -> bool {
        (self.big_endian == cfg!(target_endian = "big") || self.stored.size() == 1) && !self.column_major
    }

    /// The tensor of these bytes, sharing their memory where the layout is the machine's own. The bytes
    /// are as many as the shape says.
    pub fn tensor(self, name: &dyn Display, shape: &[usize], data: Bytes) -> Result<HostTensor, Diagnostic> {
        self.assemble(shape, data).map_err(|e| error::shape(name, e))
    }

    fn assemble(self, shape: &[usize], data: Bytes) -> Result<HostTensor, ShapeError> {
        let Stored::Is(dtype) = self.stored else { return self.widen(shape, data) };
        if self.is_native() {
            return HostTensor::from_bytes(dtype, shape, data);
        }
        let too_large = || ShapeError::TooLarge { shape: shape.to_vec(), dtype };
        let mut out = AlignedBuf::zeroed(data.len()).ok_or_else(too_large)?;
        self.reorder(shape, &data, &mut out);
        HostTensor::from_bytes(dtype, shape, out.into())
    }

    fn widen(self, shape: &[usize], data: Bytes) -> Result<HostTensor, ShapeError> {
        let as_i16 = Layout { stored: Stored::Is(DType::I16), ..self };
        let low = as_i16.assemble(shape, data)?;
        let mut out = HostTensor::zeros(DType::I32, shape)?;
        if let (Some(low), Some(out)) = (low.as_slice::<i16>(), out.as_mut_slice::<i32>()) {
            for (o, &l) in out.iter_mut().zip(low) {
                *o = i32::from(l.cast_unsigned());
            }
        }
        Ok(out)
    }

    /// Copies into row-major order and native byte order.
    fn reorder(self, shape: &[usize], src: &[u8], dst: &mut [u8]) {
        let size = self.stored.size();
        if self.column_major {
            transpose(shape, size, src, dst);
        } else {
            dst.copy_from_slice(src);
        }
        if self.big_endian != cfg!(target_endian = "big") {
            dst.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
    }
}

/// Column-major to row-major. `src` and `dst` hold as many elements as the shape has.
fn transpose(shape: &[usize], size: usize, src: &[u8], dst: &mut [u8]) {
    let strides: Vec<usize> = shape
        .iter()
        .scan(1, |stride, &d| {
            let this = *stride;
            *stride *= d;
            Some(this)
        })
        .collect();
    let mut index = vec![0; shape.len()];
    let mut from = 0;
    for out in dst.chunks_exact_mut(size) {
        out.copy_from_slice(&src[from * size..][..size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            from += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
            from -= strides[axis] * shape[axis];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_major_to_row_major() {
        let mut out = [0; 6];
        transpose(&[2, 3], 1, &[1, 4, 2, 5, 3, 6], &mut out);
        assert_eq!(out, [1, 2, 3, 4, 5, 6]);
        transpose(&[], 1, &[7], &mut out[..1]);
        assert_eq!(out[0], 7);
    }
}
