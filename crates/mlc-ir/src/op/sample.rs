//! Sample applications of ops, which drive the table tests: evaluator against type rule, derivative
//! against finite differences, lowered code against evaluator, PyTorch's numbers.

use super::Op;
use crate::eval::{Elements, Tensor};
use crate::types::{DType, DTypeKind, Dim, Type};

/// One application of an op to operands of known types.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What is special about it.
    pub note: String,
    pub op: Op,
    pub operands: Vec<SampleOperand>,
    /// Relative error allowed of a computation in the result's dtype, in multiples of its epsilon:
    /// 0 for what must be exact.
    pub error: f64,
    /// How often the op is differentiable at these values (0, 1 or 2): the orders of finite
    /// differences that must agree.
    pub smooth: u32,
}

/// The type of an operand and which values to fill it with.
#[derive(Debug, Clone)]
pub struct SampleOperand {
    /// Dims are numbers.
    pub ty: Type,
    pub domain: Domain,
}

/// Where a sample's values come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// Evenly distributed in `[low, high)`.
    Range(f64, f64),
    /// A range without its middle: at least this far from 0.
    Apart(f64, f64),
    /// Integers in `low..=high`.
    Ints(i64, i64),
    /// All different, at least 0.1 apart, in random order: no ties.
    Distinct,
    Bools,
    /// These, repeated as often as the shape asks.
    Values(Vec<f64>),
}

impl Sample {
    /// An exact sample without finite differences.
    pub fn new(note: &str, op: impl Into<Op>, operands: Vec<SampleOperand>) -> Sample {
        Sample { note: note.into(), op: op.into(), operands, error: 0.0, smooth: 0 }
    }

    pub fn error(self, error: f64) -> Sample {
        Sample { error, ..self }
    }

    pub fn smooth(self, smooth: u32) -> Sample {
        Sample { smooth, ..self }
    }

    /// The relative error allowed of results of this dtype.
    pub fn tolerance(&self, dtype: DType) -> f64 {
        self.error * epsilon(dtype)
    }

    /// A name that no other sample has.
    pub fn key(&self) -> String {
        format!("{}: {}", self.op.name(), self.note)
    }

    pub fn types(&self) -> Vec<Type> {
        self.operands.iter().map(|o| o.ty.clone()).collect()
    }

    /// The same sample with its f32 operands of another float dtype. A region's dtypes are its own: a sample
    /// with one stays as it is.
    pub fn in_dtype(mut self, dtype: DType) -> Sample {
        if self.op.region().is_some() {
            return self;
        }
        for operand in &mut self.operands {
            if operand.ty.dtype == DType::F32 {
                operand.ty.dtype = dtype;
            }
        }
        self
    }

    /// Values for the operands, rounded to their dtypes: the same for the same seed.
    pub fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let fill = |(i, o): (usize, &SampleOperand)| o.fill(seed.wrapping_mul(1_000_003) + i as u64);
        self.operands.iter().enumerate().map(fill).collect()
    }
}

impl SampleOperand {
    pub fn new(dtype: DType, shape: &[usize], domain: Domain) -> SampleOperand {
        SampleOperand { ty: Type::new(dtype, shape.iter().map(|&d| Dim::from(d))), domain }
    }

    /// f32 values around 0.
    pub fn f32(shape: &[usize]) -> SampleOperand {
        SampleOperand::new(DType::F32, shape, Domain::Range(-2.0, 2.0))
    }

    /// i64 indices below `n`.
    pub fn index(shape: &[usize], n: i64) -> SampleOperand {
        SampleOperand::new(DType::I64, shape, Domain::Ints(0, n - 1))
    }

    fn fill(&self, seed: u64) -> Tensor {
        let shape = self.ty.bound_shape().unwrap_or_default();
        let count = shape.iter().product();
        let mut random = SplitMix(seed);
        let values: Vec<f64> = match &self.domain {
            Domain::Range(low, high) => (0..count).map(|_| low + (high - low) * random.unit()).collect(),
            Domain::Apart(gap, high) => (0..count)
                .map(|_| {
                    let size = gap + (high - gap) * random.unit();
                    if random.next().is_multiple_of(2) { size } else { -size }
                })
                .collect(),
            Domain::Ints(low, high) => {
                let span = (high - low + 1).max(1) as u64;
                (0..count).map(|_| (low + (random.next() % span) as i64) as f64).collect()
            }
            Domain::Distinct => distinct(count, &mut random),
            Domain::Bools => (0..count).map(|_| (random.next() % 2) as f64).collect(),
            Domain::Values(list) => (0..count).map(|i| list[i % list.len().max(1)]).collect(),
        };
        Tensor::from_f64(self.ty.dtype, &shape, &values).rounded()
    }
}

/// Hash of the values: a fixture says with it which inputs it was made for.
pub fn fingerprint(inputs: &[Tensor]) -> String {
    let mut hash = blake3::Hasher::new();
    for t in inputs {
        hash.update(t.dtype.name().as_bytes());
        t.shape.iter().for_each(|d| _ = hash.update(&d.to_le_bytes()));
        match &t.data {
            Elements::F(v) => v.iter().for_each(|x| _ = hash.update(&x.to_bits().to_le_bytes())),
            _ => t.to_ints().iter().for_each(|x| _ = hash.update(&x.to_le_bytes())),
        }
    }
    hash.finalize().to_hex()[..16].to_string()
}

fn distinct(count: usize, random: &mut SplitMix) -> Vec<f64> {
    let mut values: Vec<f64> = (0..count).map(|i| (i as f64 - count as f64 / 2.0) * 0.25 + 0.1).collect();
    for i in (1..count).rev() {
        values.swap(i, (random.next() % (i as u64 + 1)) as usize);
    }
    values
}

/// The distance from 1 to the next value of a float dtype; 0 for the others.
pub fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F32 => f64::from(f32::EPSILON),
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ if dtype.kind() == DTypeKind::Float => f64::EPSILON,
        _ => 0.0,
    }
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
