//! Reversing axes.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, CastPolicy, Cotangents, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp};
use crate::eval::{EvalError, Tensor, coordinates, linear_index};
use crate::graph::GraphBuilder;
use crate::types::Type;

/// Reverses the order along each of `axes`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flip {
    pub axes: Vec<usize>,
}

impl OpDef for Flip {
    const NAME: &'static str = "flip";

    fn doc() -> &'static str {
        "Reverses the order along each of `axes`: `y[.., i, ..] = x[.., n-1-i, ..]`.\n\nGradient: the flip of the cotangent."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        for &axis in &self.axes {
            cx.axis(axis, &operands[0])?;
        }
        Ok(smallvec![operands[0].with_shape(operands[0].shape.iter().cloned())])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("axes", &*self.axes)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Flip { axes: a.axes("axes")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        at.first(|g| b.op(self.clone(), &[g]))
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0];
        let place = |mut at: Vec<usize>| {
            for &axis in &self.axes {
                at[axis] = x.shape[axis] - 1 - at[axis];
            }
            linear_index(&x.shape, &at)
        };
        Ok(vec![x.pick(x.shape.clone(), coordinates(&x.shape).map(place))])
    }

    fn samples() -> Vec<Sample> {
        let case = |note: &str, shape: &[usize], axes: &[usize]| {
            Sample::new(note, Flip { axes: axes.to_vec() }, vec![SampleOperand::f32(shape)]).smooth(2)
        };
        vec![
            case("one axis", &[5], &[0]),
            case("two of three", &[2, 3, 4], &[0, 2]),
            case("an axis of 1", &[3, 1], &[1]),
            case("none", &[0, 3], &[0, 1]),
        ]
    }
}
