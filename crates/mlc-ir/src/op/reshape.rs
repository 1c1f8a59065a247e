//! Another shape for the same elements.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, CastPolicy, Cotangents, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp};
use crate::eval::{EvalError, Tensor, sizes};
use crate::graph::GraphBuilder;
use crate::types::{Relation, Shape, Type};

/// The same elements in row-major order under another shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reshape {
    pub shape: Shape,
}

impl OpDef for Reshape {
    const NAME: &'static str = "reshape";

    fn doc() -> &'static str {
        "The same elements in row-major order under another shape of equal count.\n\nGradient: the cotangent reshaped back."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        let result = operands[0].with_shape(self.shape.iter().cloned());
        let (from, to) = (operands[0].count(), result.count());
        cx.require(&from, Relation::Eq, &to, |cx| {
            let title = format!("cannot reshape {} to {result}: {from} elements against {to}", operands[0]);
            cx.error("E0204", title, operands)
        })?;
        Ok(smallvec![result])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("shape", &*self.shape)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Reshape { shape: a.shape("shape")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        at.first(|g| {
            let shape = b.shape(at.operands[0]);
            b.reshape(g, shape)
        })
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (x, shape) = (operands[0], sizes(&self.shape)?);
        if shape.iter().product::<usize>() != x.len() {
            return Err(EvalError::new(format!("{} elements do not fit the shape {shape:?}", x.len())));
        }
        Ok(vec![Tensor { shape, ..x.clone() }])
    }

    fn samples() -> Vec<Sample> {
        let case = |note: &str, from: &[usize], to: &[usize]| {
            let shape = to.iter().map(|&d| d.into()).collect();
            Sample::new(note, Reshape { shape }, vec![SampleOperand::f32(from)]).smooth(2)
        };
        vec![
            case("merge", &[2, 3, 5], &[2, 15]),
            case("split", &[6, 5], &[2, 3, 5]),
            case("across axes", &[4, 3], &[6, 2]),
            case("dims of 1", &[1, 7, 1], &[7]),
            case("a scalar", &[], &[1, 1]),
            case("none", &[0, 3], &[7, 0]),
        ]
    }
}
