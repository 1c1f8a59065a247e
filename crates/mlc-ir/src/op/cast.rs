//! Conversion between dtypes.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{
    Attrs, CastPolicy, Cotangents, Domain, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp,
};
use crate::eval::{Elements, EvalError, Tensor, float_to_int, round_float};
use crate::graph::GraphBuilder;
use crate::types::{DType, Type};

/// Conversion to another dtype: float to float rounds to nearest even, float to integer truncates and
/// saturates (NaN to 0), integers wrap, anything to bool is `x != 0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cast {
    pub to: DType,
}

impl OpDef for Cast {
    const NAME: &'static str = "cast";

    fn doc() -> &'static str {
        "Converts to the dtype `to`. Float to float rounds to nearest, ties to even; float to integer truncates and saturates, NaN gives 0; \
         integer to integer wraps; anything to bool is `x != 0`.\n\nGradient: between floats the cotangent cast back; none to or from others."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        Ok(smallvec![Type::new(self.to, operands[0].shape.iter().cloned())])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("to", self.to)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Cast { to: a.dtype("to")? })
    }

    fn gradient(&self) -> Gradient {
        if self.to.is_float() {
            Gradient::Rule
        } else {
            Gradient::Zero("a cast to integers or bool is constant between its jumps")
        }
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        let from = b.ty(at.operands[0]).dtype;
        if from.is_float() { at.first(|g| b.cast(g, from)) } else { Ok(at.none()) }
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0];
        let Elements::F(values) = &x.data else {
            let ints = x.to_ints();
            let bits = ints.iter().map(|&v| if self.to == DType::Bool { (v != 0).into() } else { v });
            return Ok(vec![Tensor::from_ints(self.to, x.shape.clone(), bits)]);
        };
        let data = match self.to {
            DType::Bool => Elements::B(values.iter().map(|&v| v != 0.0).collect()),
            to if to.is_float() => Elements::F(values.clone()),
            to => {
                let ints = values.iter().map(|&v| float_to_int(to, v));
                return Ok(vec![Tensor::from_ints(to, x.shape.clone(), ints)]);
            }
        };
        Ok(vec![Tensor { dtype: self.to, shape: x.shape.clone(), data }])
    }

    fn samples() -> Vec<Sample> {
        let floats = [0.0, -0.0, 1.5, -1.5, 2.5, 0.1, 65519.9, 65520.0, 1e-8, -3e9, 3e38, 300.7, -129.2];
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let ints = [0.0, 1.0, -1.0, 127.0, 128.0, 255.0, 256.0, -129.0, 65536.0, 2147483647.0, 16777217.0];
        let mut out = vec![];
        for from in
            [DType::F32, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U8, DType::U32, DType::Bool]
        {
            let mut values = if from.is_float() { floats.to_vec() } else { ints.to_vec() };
            values.retain(|&v| !from.is_float() || round_float(from, v).is_finite());
            if from.is_float() {
                values.extend(odd);
            }
            for to in DType::ALL {
                let operand = SampleOperand::new(from, &[values.len()], Domain::Values(values.clone()));
                let error = if to.is_float() { 1.0 } else { 0.0 };
                out.push(Sample::new(&format!("{from} to {to}"), Cast { to }, vec![operand]).error(error));
            }
        }
        for to in [DType::I64, DType::I32, DType::I8, DType::U8] {
            let values = Domain::Values(vec![0.0, 0.5, 1.5, 2.5, 99.99, 127.0]);
            let operand = SampleOperand::new(DType::F32, &[6], values);
            out.push(Sample::new(&format!("within the range of {to}"), Cast { to }, vec![operand]));
        }
        let operand = SampleOperand::f32(&[3, 2]);
        out.push(Sample::new("floats", Cast { to: DType::F64 }, vec![operand]).smooth(2));
        out.push(Sample::new("none", Cast { to: DType::F16 }, vec![SampleOperand::f32(&[0])]).smooth(2));
        out
    }
}
