//! Stretching: the one place where values repeat.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, CastPolicy, Cotangents, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp};
use crate::eval::{EvalError, Tensor, coordinates, linear_index, sizes};
use crate::graph::GraphBuilder;
use crate::types::{Shape, Type};

/// Stretches the operand to `shape`: its axis `i` becomes axis `axes[i]` (ascending), where its dim is
/// the same or 1; the other axes repeat it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broadcast {
    pub shape: Shape,
    pub axes: Vec<usize>,
}

impl OpDef for Broadcast {
    const NAME: &'static str = "broadcast";

    fn doc() -> &'static str {
        "Stretches a tensor to `shape`: operand axis `i` becomes axis `axes[i]` (ascending), where its dim is the same or 1; \
         the other axes repeat it. `y[j] = x[i]` with `i[k] = j[axes[k]]`, or 0 where the operand's dim is 1.\n\n \
         Gradient: the sum of the cotangent over every axis that repeats."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        let x = &operands[0];
        let ascending = self.axes.windows(2).all(|w| w[0] < w[1]);
        if self.axes.len() != x.rank() || !ascending || self.axes.iter().any(|&a| a >= self.shape.len()) {
            return Err(Diagnostic::bug(format!("broadcast axes {:?} do not fit {x}", self.axes)));
        }
        for (i, &axis) in self.axes.iter().enumerate() {
            if !x.shape[i].is_const(1) {
                cx.same_dim(
                    "cannot broadcast: only a dim of 1 stretches",
                    &x.shape[i],
                    &self.shape[axis],
                    operands,
                )?;
            }
        }
        Ok(smallvec![x.with_shape(self.shape.iter().cloned())])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("shape", &*self.shape).with("axes", &*self.axes)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Broadcast { shape: a.shape("shape")?, axes: a.axes("axes")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    /// The one place where broadcasting is undone.
    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        at.first(|g| {
            let x = b.shape(at.operands[0]);
            let stretched = |axis: usize| match self.axes.iter().position(|&a| a == axis) {
                None => true,
                Some(i) => x[i].is_const(1) && !self.shape[axis].is_const(1),
            };
            let repeating = (0..self.shape.len()).filter(|&axis| stretched(axis)).collect();
            let sum = b.sum(g, repeating)?;
            b.reshape(sum, x)
        })
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (x, shape) = (operands[0], sizes(&self.shape)?);
        let place = |at: Vec<usize>| {
            let source = self.axes.iter().zip(&x.shape).map(|(&axis, &d)| if d == 1 { 0 } else { at[axis] });
            linear_index(&x.shape, &source.collect::<Vec<_>>())
        };
        Ok(vec![x.pick(shape.clone(), coordinates(&shape).map(place))])
    }

    fn samples() -> Vec<Sample> {
        let case = |note: &str, from: &[usize], to: &[usize], axes: &[usize]| {
            let shape = to.iter().map(|&d| d.into()).collect();
            Sample::new(note, Broadcast { shape, axes: axes.to_vec() }, vec![SampleOperand::f32(from)])
                .smooth(2)
        };
        vec![
            case("a scalar", &[], &[2, 3], &[]),
            case("a bias", &[3], &[5, 3], &[1]),
            case("leading axis", &[5], &[5, 3], &[0]),
            case("dims of 1", &[3, 1, 2], &[3, 4, 2], &[0, 1, 2]),
            case("1 to 1", &[1, 3], &[1, 2, 3], &[0, 2]),
            case("to none", &[1], &[0], &[0]),
            case("of none", &[0], &[2, 0], &[1]),
            case("nothing changes", &[7], &[7], &[0]),
        ]
    }
}
