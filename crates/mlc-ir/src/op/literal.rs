//! Constant tensors in the graph.

use std::fmt;
use std::sync::Arc;

use half::{bf16, f16};

use crate::types::{DType, Dim, Type};

/// Elements of a constant, row-major, native endianness. Small: data and weights are never literals.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Literal {
    dtype: DType,
    shape: Vec<u64>,
    bytes: Arc<[u8]>,
}

impl Literal {
    /// `None` where the bytes are not as long as shape and dtype say.
    pub fn new(dtype: DType, shape: Vec<u64>, bytes: Arc<[u8]>) -> Option<Literal> {
        let count = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
        let len = usize::try_from(count).ok()?.checked_mul(dtype.size())?;
        (bytes.len() == len).then_some(Literal { dtype, shape, bytes })
    }

    /// A scalar, rounded (floats), truncated (integers) or tested against zero (bool) to the dtype.
    pub fn scalar(dtype: DType, value: f64) -> Literal {
        Literal { dtype, shape: vec![], bytes: encode(dtype, value).into() }
    }

    /// An integer scalar without the detour through f64; wraps to the dtype.
    pub fn int(dtype: DType, value: i64) -> Literal {
        Literal { dtype, shape: vec![], bytes: encode_int(dtype, value).into() }
    }

    pub fn bool(value: bool) -> Literal {
        Literal { dtype: DType::Bool, shape: vec![], bytes: [value as u8].as_slice().into() }
    }

    /// A tensor from f64 values; `None` where their number is not the shape's.
    pub fn from_f64(dtype: DType, shape: Vec<u64>, values: &[f64]) -> Option<Literal> {
        let bytes: Vec<u8> = values.iter().flat_map(|&v| encode(dtype, v)).collect();
        Literal::new(dtype, shape, bytes.into())
    }

    /// From the elements of the text form; `None` where one is not of the dtype or their number is not
    /// the shape's.
    pub fn parse_elements<'a>(
        dtype: DType,
        shape: Vec<u64>,
        elements: impl IntoIterator<Item = &'a str>,
    ) -> Option<Literal> {
        let parts = elements.into_iter().map(|e| parse_element(dtype, e)).collect::<Option<Vec<_>>>()?;
        Literal::new(dtype, shape, parts.concat().into())
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn shared_bytes(&self) -> Arc<[u8]> {
        self.bytes.clone()
    }

    pub fn ty(&self) -> Type {
        Type::new(self.dtype, self.shape.iter().map(|&d| Dim::from(d as usize)))
    }

    /// All elements as f64 (i64 and u64 beyond 2^53 lose digits).
    pub fn to_f64(&self) -> Vec<f64> {
        self.bytes.chunks_exact(self.dtype.size()).map(|b| decode(self.dtype, b)).collect()
    }

    /// The value of a one-element literal.
    pub fn as_scalar(&self) -> Option<f64> {
        (self.bytes.len() == self.dtype.size()).then(|| decode(self.dtype, &self.bytes))
    }
}

fn encode(dtype: DType, v: f64) -> Vec<u8> {
    match dtype {
        DType::F64 => v.to_ne_bytes().to_vec(),
        DType::F32 => (v as f32).to_ne_bytes().to_vec(),
        DType::F16 => f16::from_f32(to_odd(v)).to_ne_bytes().to_vec(),
        DType::BF16 => bf16::from_f32(to_odd(v)).to_ne_bytes().to_vec(),
        DType::U64 => (v as u64).to_ne_bytes().to_vec(),
        DType::Bool => vec![(v != 0.0) as u8],
        _ => encode_int(dtype, v as i64),
    }
}

/// `v` as f32, rounded to an odd significand where it does not fit: rounding that to a narrower float
/// is then rounding `v` once. (`half` ignores the low 32 bits of an f64.)
fn to_odd(v: f64) -> f32 {
    let near = v as f32;
    if f64::from(near) == v || v.is_nan() {
        return near;
    }
    let toward_zero = if f64::from(near).abs() > v.abs() { near.to_bits() - 1 } else { near.to_bits() };
    f32::from_bits(toward_zero | 1)
}

fn encode_int(dtype: DType, v: i64) -> Vec<u8> {
    match dtype {
        DType::I64 | DType::U64 => v.to_ne_bytes().to_vec(),
        DType::I32 | DType::U32 => (v as i32).to_ne_bytes().to_vec(),
        DType::I16 => (v as i16).to_ne_bytes().to_vec(),
        DType::I8 | DType::U8 => vec![v as u8],
        DType::Bool => vec![(v != 0) as u8],
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => encode(dtype, v as f64),
    }
}

fn decode(dtype: DType, b: &[u8]) -> f64 {
    macro_rules! read {
        ($t:ty) => {
            <$t>::from_ne_bytes(b.try_into().expect("chunks have the dtype's size"))
        };
    }
    match dtype {
        DType::F64 => read!(f64),
        DType::F32 => read!(f32) as f64,
        DType::F16 => read!(f16).to_f64(),
        DType::BF16 => read!(bf16).to_f64(),
        DType::I64 => read!(i64) as f64,
        DType::U64 => read!(u64) as f64,
        DType::I32 => read!(i32) as f64,
        DType::U32 => read!(u32) as f64,
        DType::I16 => read!(i16) as f64,
        DType::I8 => read!(i8) as f64,
        DType::U8 | DType::Bool => b[0] as f64,
    }
}

/// One element as text, exact but for the payload of a NaN.
fn element_text(dtype: DType, b: &[u8]) -> String {
    match dtype {
        DType::F32 => format!("{:?}", decode(dtype, b) as f32),
        DType::F64 | DType::F16 | DType::BF16 => format!("{:?}", decode(dtype, b)),
        DType::I64 => b.try_into().map_or_else(|_| String::new(), |b| i64::from_ne_bytes(b).to_string()),
        DType::U64 => b.try_into().map_or_else(|_| String::new(), |b| u64::from_ne_bytes(b).to_string()),
        DType::Bool => (b[0] != 0).to_string(),
        _ => format!("{}", decode(dtype, b)),
    }
}

fn parse_element(dtype: DType, text: &str) -> Option<Vec<u8>> {
    match (dtype, text) {
        (DType::Bool, _) => text.parse().ok().map(|b: bool| vec![b as u8]),
        (DType::U64, _) => text.parse().ok().map(|n: u64| n.to_ne_bytes().to_vec()),
        // By way of the dtype itself: through f64 a decimal could round twice.
        (DType::F32, _) => text.parse().ok().map(|v: f32| v.to_ne_bytes().to_vec()),
        _ if dtype.is_float() => text.parse().ok().map(|v| encode(dtype, v)),
        _ => {
            let n: i64 = text.parse().ok()?;
            let bytes = encode_int(dtype, n);
            (decode(dtype, &bytes) == n as f64).then_some(bytes)
        }
    }
}

impl fmt::Display for Literal {
    /// `f32[2] {1.0, inf}`, `i64 {3}`: [`Literal::parse_elements`] reads the elements back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements = self.bytes.chunks_exact(self.dtype.size()).map(|b| element_text(self.dtype, b));
        write!(f, "{} {{{}}}", self.ty(), elements.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
