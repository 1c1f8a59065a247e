//! Host tensors of the evaluator.

use half::{bf16, f16};

use super::EvalError;
use crate::op::Literal;
use crate::types::{DType, DTypeKind, Dim};

/// A dense row-major tensor. Floats of every dtype are held as f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub data: Elements,
}

/// Elements by kind: signed integers, unsigned integers (u8 too), floats, bools.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    F(Vec<f64>),
    I(Vec<i64>),
    U(Vec<u64>),
    B(Vec<bool>),
}

impl Elements {
    pub fn len(&self) -> usize {
        match self {
            Elements::F(v) => v.len(),
            Elements::I(v) => v.len(),
            Elements::U(v) => v.len(),
            Elements::B(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements at these places, in this order.
    pub fn pick(&self, places: impl Iterator<Item = usize>) -> Elements {
        match self {
            Elements::F(v) => Elements::F(places.map(|i| v[i]).collect()),
            Elements::I(v) => Elements::I(places.map(|i| v[i]).collect()),
            Elements::U(v) => Elements::U(places.map(|i| v[i]).collect()),
            Elements::B(v) => Elements::B(places.map(|i| v[i]).collect()),
        }
    }

    /// `self` followed by `other`, which must be of the same kind.
    pub fn append(&mut self, other: &Elements) {
        match (self, other) {
            (Elements::F(a), Elements::F(b)) => a.extend(b),
            (Elements::I(a), Elements::I(b)) => a.extend(b),
            (Elements::U(a), Elements::U(b)) => a.extend(b),
            (Elements::B(a), Elements::B(b)) => a.extend(b),
            _ => {}
        }
    }
}

impl Tensor {
    /// `None` where the number or kind of elements does not fit.
    pub fn new(dtype: DType, shape: Vec<usize>, data: Elements) -> Option<Tensor> {
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        let fits = match &data {
            Elements::F(_) => dtype.is_float(),
            Elements::I(_) => dtype.is_signed_int(),
            Elements::U(_) => dtype.is_int() && !dtype.is_signed_int(),
            Elements::B(_) => dtype == DType::Bool,
        };
        (fits && count == data.len()).then_some(Tensor { dtype, shape, data })
    }

    /// From f64 values, which integers truncate and wrap and bools test against zero. Floats are not
    /// rounded to the dtype.
    ///
    /// # Panics
    /// Where the number of values is not the shape's.
    pub fn from_f64(dtype: DType, shape: &[usize], values: &[f64]) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values do not fit the shape {shape:?}");
        let ints = || values.iter().map(|&v| v as i128);
        let data = match dtype.kind() {
            DTypeKind::Float => Elements::F(values.to_vec()),
            DTypeKind::Bool => Elements::B(values.iter().map(|&v| v != 0.0).collect()),
            DTypeKind::Int => return Tensor::from_ints(dtype, shape.to_vec(), ints()),
        };
        Tensor { dtype, shape: shape.to_vec(), data }
    }

    /// Integers or bools, wrapped to the dtype; floats take the number.
    pub(crate) fn from_ints(dtype: DType, shape: Vec<usize>, values: impl Iterator<Item = i128>) -> Tensor {
        let data = match dtype.kind() {
            DTypeKind::Float => Elements::F(values.map(|v| v as f64).collect()),
            DTypeKind::Bool => Elements::B(values.map(|v| v & 1 != 0).collect()),
            DTypeKind::Int if dtype.is_signed_int() => {
                Elements::I(values.map(|v| wrap_int(dtype, v) as i64).collect())
            }
            DTypeKind::Int => Elements::U(values.map(|v| wrap_int(dtype, v) as u64).collect()),
        };
        Tensor { dtype, shape, data }
    }

    pub fn scalar(dtype: DType, value: f64) -> Tensor {
        Tensor::from_f64(dtype, &[], &[value])
    }

    pub fn from_literal(literal: &Literal) -> Tensor {
        let shape: Vec<usize> = literal.shape().iter().map(|&d| d as usize).collect();
        let bytes = literal.bytes();
        let wide = |b: &[u8]| b.try_into().unwrap_or([0; 8]);
        let data = match literal.dtype() {
            DType::I64 => Elements::I(bytes.chunks_exact(8).map(|b| i64::from_ne_bytes(wide(b))).collect()),
            DType::U64 => Elements::U(bytes.chunks_exact(8).map(|b| u64::from_ne_bytes(wide(b))).collect()),
            dtype => return Tensor::from_f64(dtype, &shape, &literal.to_f64()),
        };
        Tensor { dtype: literal.dtype(), shape, data }
    }

    pub fn len(&self) -> usize {
        self.data.len()
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// All elements as f64 (i64 and u64 beyond 2^53 lose digits).
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Elements::F(v) => v.clone(),
            Elements::I(v) => v.iter().map(|&i| i as f64).collect(),
            Elements::U(v) => v.iter().map(|&i| i as f64).collect(),
            Elements::B(v) => v.iter().map(|&b| f64::from(b as u8)).collect(),
        }
    }

    /// All elements as integers; floats truncate.
    pub fn to_ints(&self) -> Vec<i128> {
        match &self.data {
            Elements::F(v) => v.iter().map(|&x| x as i128).collect(),
            Elements::I(v) => v.iter().map(|&i| i.into()).collect(),
            Elements::U(v) => v.iter().map(|&i| i.into()).collect(),
            Elements::B(v) => v.iter().map(|&b| b.into()).collect(),
        }
    }

    /// A tensor of another shape whose element at linear index `i` is this one's at `place(i)`.
    pub(crate) fn pick(&self, shape: Vec<usize>, places: impl Iterator<Item = usize>) -> Tensor {
        Tensor { dtype: self.dtype, shape, data: self.data.pick(places) }
    }

    /// Floats rounded to the dtype; the rest as it is.
    pub fn rounded(mut self) -> Tensor {
        if let Elements::F(v) = &mut self.data {
            v.iter_mut().for_each(|x| *x = round_float(self.dtype, *x));
        }
        self
    }
}

/// The nearest value of a float dtype.
pub fn round_float(dtype: DType, v: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(v as f32),
        DType::F16 => f16::from_f64(v).to_f64(),
        DType::BF16 => bf16::from_f64(v).to_f64(),
        _ => v,
    }
}

/// `v` modulo 2^bits of an integer dtype, or modulo 2 of bool.
pub fn wrap_int(dtype: DType, v: i128) -> i128 {
    match dtype {
        DType::Bool => v & 1,
        DType::I8 => (v as i8).into(),
        DType::I16 => (v as i16).into(),
        DType::I32 => (v as i32).into(),
        DType::I64 => (v as i64).into(),
        DType::U8 => (v as u8).into(),
        DType::U32 => (v as u32).into(),
        DType::U64 => (v as u64).into(),
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => v,
    }
}

/// Truncates, saturates at the ends of the dtype, NaN to 0.
pub fn float_to_int(dtype: DType, v: f64) -> i128 {
    match dtype {
        DType::I8 => (v as i8).into(),
        DType::I16 => (v as i16).into(),
        DType::I32 => (v as i32).into(),
        DType::I64 => (v as i64).into(),
        DType::U8 => (v as u8).into(),
        DType::U32 => (v as u32).into(),
        DType::U64 => (v as u64).into(),
        DType::Bool => (v != 0.0).into(),
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => v as i128,
    }
}

/// All index tuples of a shape in row-major order; one, empty, for a scalar.
pub fn coordinates(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    let count: usize = shape.iter().product();
    (0..count).map(move |mut linear| {
        let mut at = vec![0; shape.len()];
        for (i, &d) in shape.iter().enumerate().rev() {
            at[i] = linear % d;
            linear /= d;
        }
        at
    })
}

/// The inverse of [`coordinates`].
pub fn linear_index(shape: &[usize], at: &[usize]) -> usize {
    shape.iter().zip(at).fold(0, |n, (&d, &i)| n * d + i)
}

/// Dims as numbers.
pub(crate) fn sizes(dims: &[Dim]) -> Result<Vec<usize>, EvalError> {
    let size = |d: &Dim| d.as_const().and_then(|n| usize::try_from(n).ok());
    dims.iter()
        .map(|d| size(d).ok_or_else(|| EvalError::new(format!("the dim `{d}` is not bound to a size"))))
        .collect()
}
