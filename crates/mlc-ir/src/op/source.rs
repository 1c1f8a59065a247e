//! Ops without tensor operands: where values come from.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{
    Attrs, CastPolicy, Cotangents, Domain, Gradient, InferCx, Literal, OpDef, Sample, SampleOperand, Types,
    Vjp,
};
use crate::eval::{EvalError, Tensor, coordinates, random_word, sizes};
use crate::graph::GraphBuilder;
use crate::types::{DType, Dim, Shape, Symbol, Type};

/// An input of the entry, by name; on the host until placed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Input {
    pub name: Symbol,
    pub ty: Type,
}

/// The value of a state (parameter, buffer, optimizer state, counter) at entry, by path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub path: Symbol,
    pub ty: Type,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Constant {
    pub value: Literal,
}

/// A dim as an i64 scalar; a constant once dims are bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DimScalar {
    pub dim: Dim,
}

/// The index along `axis` at every element.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Iota {
    pub dtype: DType,
    pub shape: Shape,
    pub axis: usize,
}

/// 32 random bits for every element: Philox4x32-10 with the 64-bit seed as key, counted by (element
/// index in the logical shape, site, iteration). Operands: seed (u64 scalar), iteration (u32 scalar).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RandomBits {
    /// Hash of (entry or loss name, scope path, ordinal in scope): names the place in the program.
    pub site: u32,
    pub shape: Shape,
}

impl OpDef for Input {
    const NAME: &'static str = "input";

    fn doc() -> &'static str {
        "An input of the entry, by name: fed by data or by the caller."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![self.ty.clone()])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("name", &*self.name).with("type", self.ty.clone())
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Input { name: a.symbol("name")?, ty: a.ty("type")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Zero("it has no tensor operands")
    }

    fn vjp(&self, _: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        Ok(at.none())
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Err(EvalError::new("an input has no value of its own: the evaluator supplies it"))
    }

    fn samples() -> Vec<Sample> {
        let ty = Type::new(DType::F32, [Dim::from(3usize)]);
        vec![Sample::new("a vector", Input { name: "x".into(), ty }, vec![])]
    }
}

impl OpDef for State {
    const NAME: &'static str = "state";

    fn doc() -> &'static str {
        "The value at entry of a parameter, buffer, optimizer state or counter, by its path."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![self.ty.clone()])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("path", &*self.path).with("type", self.ty.clone())
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(State { path: a.symbol("path")?, ty: a.ty("type")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Zero("it has no tensor operands")
    }

    fn vjp(&self, _: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        Ok(at.none())
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Err(EvalError::new("a state has no value of its own: the evaluator supplies it"))
    }

    fn samples() -> Vec<Sample> {
        let ty = Type::new(DType::F32, [Dim::from(3usize)]);
        vec![Sample::new("a vector", State { path: "fc.weight".into(), ty }, vec![])]
    }
}

impl OpDef for Constant {
    const NAME: &'static str = "constant";

    fn doc() -> &'static str {
        "A literal tensor, held in the program. Small: weights and data are never constants."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![self.value.ty()])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("value", self.value.clone())
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Constant { value: a.literal("value")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Zero("it has no tensor operands")
    }

    fn vjp(&self, _: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        Ok(at.none())
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![Tensor::from_literal(&self.value)])
    }

    fn samples() -> Vec<Sample> {
        let case = |note: &str, value: Literal| Sample::new(note, Constant { value }, vec![]);
        let table =
            Literal::from_f64(DType::F32, vec![2, 3], &[1.0, -0.0, f64::INFINITY, 0.1, 1e-40, f64::NAN]);
        let mut out = vec![
            case("a bool", Literal::bool(true)),
            case("beyond 2^53", Literal::int(DType::I64, i64::MAX)),
            case("all bits", Literal::int(DType::U64, -1)),
            case("f16", Literal::scalar(DType::F16, 65504.0)),
        ];
        out.extend(table.map(|t| case("a table", t)));
        out.extend(Literal::from_f64(DType::I8, vec![0], &[]).map(|t| case("none", t)));
        out
    }
}

impl OpDef for DimScalar {
    const NAME: &'static str = "dim";

    fn doc() -> &'static str {
        "A dim as an i64 scalar; a constant once dims are bound."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![Type::scalar(DType::I64)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("dim", self.dim.clone())
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(DimScalar { dim: a.dim("dim")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Zero("it has no tensor operands")
    }

    fn vjp(&self, _: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        Ok(at.none())
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let n = sizes(std::slice::from_ref(&self.dim))?;
        Ok(vec![Tensor::from_ints(DType::I64, vec![], n.into_iter().map(|n| n as i128))])
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::new("a number", DimScalar { dim: Dim::from(7usize) }, vec![])]
    }
}

impl OpDef for Iota {
    const NAME: &'static str = "iota";

    fn doc() -> &'static str {
        "The index along `axis` at every element: `y[.., i, ..] = i`."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        let ty = Type::new(self.dtype, self.shape.iter().cloned());
        cx.axis(self.axis, &ty)?;
        Ok(smallvec![ty])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("dtype", self.dtype).with("shape", &*self.shape).with("axis", self.axis)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Iota { dtype: a.dtype("dtype")?, shape: a.shape("shape")?, axis: a.axis("axis")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Zero("it has no tensor operands")
    }

    fn vjp(&self, _: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        Ok(at.none())
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let shape = sizes(&self.shape)?;
        let values = coordinates(&shape).map(|at| at[self.axis] as i128);
        Ok(vec![Tensor::from_ints(self.dtype, shape, values)])
    }

    fn samples() -> Vec<Sample> {
        let case = |note: &str, dtype: DType, shape: &[usize], axis: usize| {
            let shape = shape.iter().map(|&d| d.into()).collect();
            Sample::new(note, Iota { dtype, shape, axis }, vec![])
        };
        vec![
            case("rows", DType::I64, &[3, 4], 0),
            case("columns", DType::F32, &[3, 4], 1),
            case("one", DType::I32, &[1], 0),
            case("none", DType::I64, &[0, 2], 1),
            case("bytes wrap", DType::U8, &[300], 0),
        ]
    }
}

impl OpDef for RandomBits {
    const NAME: &'static str = "random_bits";

    fn doc() -> &'static str {
        "32 random bits (u32) for every element by Philox4x32-10 (Salmon et al., 2011). Operands: the seed (u64 scalar), which is the key, low word \
         first, and the iteration (u32 scalar). Element `i` of the row-major order of `shape` is word `i % 4` of the block with the counter \
         `(i/4 low, i/4 high, site, iteration)`: a function of the place in the program, never of devices, threads or fusion."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 2, operands)?;
        for (ty, want, what) in [(&operands[0], DType::U64, "seed"), (&operands[1], DType::U32, "iteration")]
        {
            if *ty != Type::scalar(want).on(ty.device) {
                return Err(Diagnostic::bug(format!("the {what} of random bits is {ty}, not {want}")));
            }
        }
        Ok(smallvec![Type::new(DType::U32, self.shape.iter().cloned())])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("site", self.site).with("shape", &*self.shape)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(RandomBits { site: a.u32("site")?, shape: a.shape("shape")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Zero("its operands are integers")
    }

    fn vjp(&self, _: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        Ok(at.none())
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let shape = sizes(&self.shape)?;
        let first = |t: &Tensor| t.to_ints().first().copied().unwrap_or(0);
        let (seed, iteration) = (first(operands[0]) as u64, first(operands[1]) as u32);
        let word = |i| random_word(seed, i, self.site, iteration).into();
        let count: usize = shape.iter().product();
        Ok(vec![Tensor::from_ints(DType::U32, shape, (0..count as u64).map(word))])
    }

    fn samples() -> Vec<Sample> {
        let case = |note: &str, shape: &[usize], seed: f64, iteration: f64| {
            let shape = shape.iter().map(|&d| d.into()).collect();
            let operands = vec![
                SampleOperand::new(DType::U64, &[], Domain::Values(vec![seed])),
                SampleOperand::new(DType::U32, &[], Domain::Values(vec![iteration])),
            ];
            Sample::new(note, RandomBits { site: 0x9abc_def0, shape }, operands)
        };
        vec![
            case("whole blocks", &[2, 4], 0.0, 0.0),
            case("a part of a block", &[3, 3], 7.0, 1.0),
            case("a scalar", &[], 1.0, 4294967295.0),
            case("none", &[0], 0.0, 0.0),
            case("a seed above 32 bits", &[5], 2f64.powi(63) + 4096.0, 12.0),
        ]
    }
}
