//! A dtype, a shape and the bytes of the elements in row-major order.

use std::fmt;

use mlc_ir::DType;

use super::element::{Element, bytes_of, slice_of, slice_of_mut};
use super::{AlignedBuf, Bytes, cast};

/// A dense row-major tensor in host memory. Clones share their memory; writing copies it if shared.
///
/// Invariants: the bytes are as many as dtype and shape say, and aligned to the dtype's size; a bool
/// is the byte 0 or 1.
#[derive(Clone)]
pub struct HostTensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
}

/// A borrowed tensor. Its bytes are aligned to the dtype's size.
#[derive(Clone, Copy)]
pub struct TensorView<'a> {
    pub dtype: DType,
    pub shape: &'a [usize],
    pub bytes: &'a [u8],
}

/// Why elements and shape do not make a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum ShapeError {
    /// The shape has another number of elements.
    Length { shape: Vec<usize>, expected: usize, found: usize },
    /// The number of bytes does not fit into memory.
    TooLarge { shape: Vec<usize>, dtype: DType },
    /// A bool's byte is neither 0 nor 1.
    NotBool { index: usize, byte: u8 },
}

/// Elements of a shape; `None` where the number of bytes overflows, also where only a dim of 0 keeps it
/// small, so that no product of some of the dims ever does.
pub fn checked_len(shape: &[usize], dtype: DType) -> Option<usize> {
    let most = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)))?;
    most.checked_mul(dtype.size()).filter(|&bytes| bytes <= isize::MAX as usize)?;
    Some(if shape.contains(&0) { 0 } else { most })
}

impl HostTensor {
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<HostTensor, ShapeError> {
        let too_large = || ShapeError::TooLarge { shape: shape.to_vec(), dtype };
        let len = checked_len(shape, dtype).ok_or_else(too_large)?;
        let data = AlignedBuf::zeroed(len * dtype.size()).ok_or_else(too_large)?;
        Ok(HostTensor { dtype, shape: shape.to_vec(), data: data.into() })
    }

    pub fn from_slice<T: Element>(shape: &[usize], values: &[T]) -> Result<HostTensor, ShapeError> {
        let mut t = Self::checked(T::DTYPE, shape, values.len())?;
        t.bytes_mut().copy_from_slice(bytes_of(values));
        Ok(t)
    }

    pub fn from_bools(shape: &[usize], values: &[bool]) -> Result<HostTensor, ShapeError> {
        let mut t = Self::checked(DType::Bool, shape, values.len())?;
        for (byte, &v) in t.bytes_mut().iter_mut().zip(values) {
            *byte = u8::from(v);
        }
        Ok(t)
    }

    /// A tensor without axes. The few bytes it needs are always there, or the process ends.
    pub fn scalar<T: Element>(value: T) -> HostTensor {
        match HostTensor::from_slice(&[], &[value]) {
            Ok(t) => t,
            Err(_) => std::alloc::handle_alloc_error(std::alloc::Layout::new::<T>()),
        }
    }

    /// Takes bytes in native order, without a copy where they are aligned.
    pub fn from_bytes(dtype: DType, shape: &[usize], data: Bytes) -> Result<HostTensor, ShapeError> {
        let too_large = || ShapeError::TooLarge { shape: shape.to_vec(), dtype };
        let expected = checked_len(shape, dtype).ok_or_else(too_large)?;
        if data.len() != expected * dtype.size() {
            let found = data.len() / dtype.size();
            return Err(ShapeError::Length { shape: shape.to_vec(), expected, found });
        }
        if dtype == DType::Bool
            && let Some((index, &byte)) = data.iter().enumerate().find(|(_, b)| **b > 1)
        {
            return Err(ShapeError::NotBool { index, byte });
        }
        let aligned = (data.as_ptr() as usize).is_multiple_of(dtype.size());
        let data = if aligned { data } else { AlignedBuf::copy_of(&data).ok_or_else(too_large)?.into() };
        Ok(HostTensor { dtype, shape: shape.to_vec(), data })
    }

    fn checked(dtype: DType, shape: &[usize], found: usize) -> Result<HostTensor, ShapeError> {
        match checked_len(shape, dtype) {
            Some(expected) if expected != found => {
                Err(ShapeError::Length { shape: shape.to_vec(), expected, found })
            }
            _ => HostTensor::zeros(dtype, shape),
        }
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The shared memory itself.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The elements for writing; copied first where they are shared or a file's. A caller who writes
    /// bools writes 0 or 1. Aborts like any allocation when memory for the copy is short.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        if self.data.get_mut().is_none() {
            self.data = copy_or_abort(&self.data);
        }
        // The copy above is owned and unshared.
        self.data.get_mut().unwrap_or(&mut [])
    }

    /// The elements, if they are of this type.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        self.view().as_slice()
    }

    pub fn as_mut_slice<T: Element>(&mut self) -> Option<&mut [T]> {
        if T::DTYPE != self.dtype {
            return None;
        }
        slice_of_mut(self.bytes_mut())
    }

    /// The elements converted to `T`.
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        self.cast(T::DTYPE).as_slice().map(<[T]>::to_vec).unwrap_or_default()
    }

    pub fn view(&self) -> TensorView<'_> {
        TensorView { dtype: self.dtype, shape: &self.shape, bytes: &self.data }
    }

    /// Another dtype; shares the memory where it is the same one. See the conversions of `cast`.
    pub fn cast(&self, dtype: DType) -> HostTensor {
        if dtype == self.dtype {
            return self.clone();
        }
        let mut out = zeroed_or_abort(self.len() * dtype.size());
        let converted = cast::convert(self.dtype, &self.data, dtype, &mut out);
        debug_assert!(converted, "tensors are aligned and whole");
        HostTensor { dtype, shape: self.shape.clone(), data: out.into() }
    }

    /// The same elements under another shape.
    pub fn reshape(&self, shape: &[usize]) -> Result<HostTensor, ShapeError> {
        match checked_len(shape, self.dtype) {
            Some(n) if n == self.len() => {
                Ok(HostTensor { dtype: self.dtype, shape: shape.to_vec(), data: self.data.clone() })
            }
            expected => Err(ShapeError::Length {
                shape: shape.to_vec(),
                expected: expected.unwrap_or(usize::MAX),
                found: self.len(),
            }),
        }
    }

    /// The `i`-th part along the first axis, which goes away; `None` where there is none.
    pub fn index(&self, i: usize) -> Option<HostTensor> {
        let (&n, rest) = self.shape.split_first()?;
        let size = self.data.len().checked_div(n)?;
        (i < n).then(|| self.data.slice(i * size..(i + 1) * size)).flatten().map(|data| HostTensor {
            dtype: self.dtype,
            shape: rest.to_vec(),
            data,
        })
    }

    /// Parts `start..end` along the first axis; `None` where they are not all there.
    pub fn rows(&self, start: usize, end: usize) -> Option<HostTensor> {
        let (&n, rest) = self.shape.split_first()?;
        if start > end || end > n {
            return None;
        }
        let size = self.data.len().checked_div(n).unwrap_or(0);
        let data = self.data.slice(start * size..end * size)?;
        let shape = std::iter::once(end - start).chain(rest.iter().copied()).collect();
        Some(HostTensor { dtype: self.dtype, shape, data })
    }
}

fn zeroed_or_abort(len: usize) -> AlignedBuf {
    let layout = || std::alloc::Layout::from_size_align(len, 1).unwrap_or(std::alloc::Layout::new::<u8>());
    AlignedBuf::zeroed(len).unwrap_or_else(|| std::alloc::handle_alloc_error(layout()))
}

fn copy_or_abort(bytes: &[u8]) -> Bytes {
    let mut copy = zeroed_or_abort(bytes.len());
    copy.copy_from_slice(bytes);
    copy.into()
}

impl<'a> TensorView<'a> {
    /// The elements, if they are of this type.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        if T::DTYPE == self.dtype { slice_of(self.bytes) } else { None }
    }

    /// A tensor of its own.
    pub fn to_owned(&self) -> HostTensor {
        HostTensor { dtype: self.dtype, shape: self.shape.to_vec(), data: copy_or_abort(self.bytes) }
    }
}

impl PartialEq for HostTensor {
    /// Same dtype, shape and bytes: a NaN equals itself, `-0.0` differs from `0.0`.
    fn eq(&self, other: &HostTensor) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostTensor({}{:?})", self.dtype, self.shape)
    }
}

impl fmt::Debug for TensorView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorView({}{:?})", self.dtype, self.shape)
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShapeError::Length { shape, expected, found } => {
                write!(f, "the shape {shape:?} has {expected} elements, but {found} are given")
            }
            ShapeError::TooLarge { shape, dtype } => {
                write!(f, "{dtype}{shape:?} does not fit into this machine's memory")
            }
            ShapeError::NotBool { index, byte } => {
                write!(f, "element {index} of a bool tensor is the byte {byte}, neither 0 nor 1")
            }
        }
    }
}

impl std::error::Error for ShapeError {}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    #[test]
    fn views_are_checked() {
        let t = HostTensor::from_slice(&[2, 2], &[1f32, 2., 3., 4.]).unwrap();
        assert_eq!(t.as_slice::<f32>().unwrap(), [1., 2., 3., 4.]);
        assert!(t.as_slice::<i32>().is_none());
        assert_eq!(t.index(1).unwrap().as_slice::<f32>().unwrap(), [3., 4.]);
        assert!(t.index(2).is_none());
        assert_eq!(t.rows(1, 2).unwrap().shape(), [1, 2]);
        assert!(t.rows(1, 3).is_none());
        assert!(HostTensor::from_slice(&[3], &[1f32]).is_err());
        assert!(HostTensor::zeros(DType::F64, &[usize::MAX, 2]).is_err());
        assert!(HostTensor::zeros(DType::F64, &[0, usize::MAX, 9]).is_err());
        assert_eq!(HostTensor::zeros(DType::F64, &[1 << 40, 0]).unwrap().len(), 0);
        assert_eq!(HostTensor::scalar(7i64).shape(), [0usize; 0]);
    }

    #[test]
    fn writing_copies_what_is_shared() {
        let mut a = HostTensor::from_slice(&[2], &[1i32, 2]).unwrap();
        let b = a.clone();
        a.as_mut_slice::<i32>().unwrap()[0] = 9;
        assert_eq!((a.to_vec::<i32>(), b.to_vec::<i32>()), (vec![9, 2], vec![1, 2]));
    }

    #[test]
    fn misaligned_bytes_are_copied_and_bools_checked() {
        let bytes = Bytes::from(AlignedBuf::copy_of(&[9, 1, 0, 0, 0]).unwrap());
        let t = HostTensor::from_bytes(DType::U32, &[1], bytes.slice(1..5).unwrap()).unwrap();
        assert_eq!(t.as_slice::<u32>().unwrap(), [1]);
        let error = HostTensor::from_bytes(DType::Bool, &[5], bytes).unwrap_err();
        assert_eq!(error, ShapeError::NotBool { index: 0, byte: 9 });
    }

    #[test]
    fn casts_round_once_and_saturate() {
        let t = HostTensor::from_slice(&[6], &[1.5f64, -2.5, f64::NAN, 1e300, 0.1, -0.0]).unwrap();
        assert_eq!(t.to_vec::<i32>(), [1, -2, 0, i32::MAX, 0, 0]);
        assert_eq!(t.cast(DType::Bool).bytes(), [1, 1, 1, 1, 1, 0]);
        assert_eq!(t.to_vec::<f32>()[4].to_bits(), 0.1f32.to_bits());
        assert_eq!(t.to_vec::<f16>()[3], f16::INFINITY);
        // Halfway between two bf16 after a first rounding to f32: one rounding goes up.
        let x = 1.0 + 2f64.powi(-8) + 2f64.powi(-30);
        assert_eq!(HostTensor::scalar(x).to_vec::<bf16>()[0].to_f64(), 1.0 + 2f64.powi(-7));
        let i = HostTensor::from_slice(&[3], &[-1i64, 300, i64::MAX]).unwrap();
        assert_eq!(i.to_vec::<u8>(), [255, 44, 255]);
        assert_eq!(i.to_vec::<f32>(), [-1., 300., 9.223372e18]);
        let b = HostTensor::from_bools(&[2], &[true, false]).unwrap();
        assert_eq!((b.to_vec::<f32>(), b.to_vec::<i64>()), (vec![1., 0.], vec![1, 0]));
    }

    #[test]
    fn every_pair_of_dtypes_converts_small_numbers_exactly() {
        let ones = HostTensor::from_slice(&[4], &[0u8, 1, 1, 0]).unwrap();
        for from in DType::ALL {
            for to in DType::ALL {
                let there = ones.cast(from).cast(to);
                assert_eq!((there.dtype(), there.to_vec::<u8>()), (to, vec![0, 1, 1, 0]), "{from} -> {to}");
            }
        }
    }
}
