//! Joining tensors along an axis.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, CastPolicy, Cotangents, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp};
use crate::eval::{EvalError, Tensor, coordinates, linear_index};
use crate::graph::GraphBuilder;
use crate::types::{Dim, Type};

/// Joins at least one operand along an axis; the other dims are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Concat {
    pub axis: usize,
}

impl OpDef for Concat {
    const NAME: &'static str = "concat";

    fn doc() -> &'static str {
        "Joins one or more tensors of one dtype along `axis`, in order; their other dims are equal.\n\nGradient: of each operand its slice of \
         the cotangent."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        let Some(first) = operands.first() else {
            return Err(cx.error("E0206", "`concat` needs at least one tensor", operands));
        };
        cx.axis(self.axis, first)?;
        let mut total = first.shape[self.axis].clone();
        for x in &operands[1..] {
            if x.rank() != first.rank() || x.dtype != first.dtype {
                return Err(cx.error("E0206", format!("cannot concat {first} and {x}"), operands));
            }
            for (i, (a, b)) in first.shape.iter().zip(&x.shape).enumerate().filter(|(i, _)| *i != self.axis) {
                cx.same_dim(
                    &format!("`concat` along axis {}: dims differ at axis {i}", self.axis),
                    a,
                    b,
                    operands,
                )?;
            }
            total = &total + &x.shape[self.axis];
        }
        let mut shape = first.shape.clone();
        shape[self.axis] = total;
        Ok(smallvec![Type::new(first.dtype, shape)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("axis", self.axis)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Concat { axis: a.axis("axis")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        let mut start = Dim::ZERO;
        let mut bounds = vec![];
        for &x in at.operands {
            let limit = &start + &b.ty(x).shape[self.axis];
            bounds.push((std::mem::replace(&mut start, limit.clone()), limit));
        }
        at.each(|i, g| {
            let (start, limit) = bounds[i].clone();
            b.slice_axis(g, self.axis, start, limit).map(Some)
        })
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Promote
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let first = operands.first().ok_or_else(|| EvalError::new("nothing to concat"))?;
        let mut shape = first.shape.clone();
        shape[self.axis] = operands.iter().map(|t| t.shape[self.axis]).sum();
        let mut all = first.data.clone();
        operands[1..].iter().for_each(|t| all.append(&t.data));
        let place = |mut at: Vec<usize>| {
            let mut before = 0;
            for t in operands {
                if at[self.axis] < t.shape[self.axis] {
                    return before + linear_index(&t.shape, &at);
                }
                at[self.axis] -= t.shape[self.axis];
                before += t.len();
            }
            before
        };
        Ok(vec![Tensor { dtype: first.dtype, data: all.pick(coordinates(&shape).map(place)), shape }])
    }

    fn samples() -> Vec<Sample> {
        let case = |note: &str, axis: usize, shapes: &[&[usize]]| {
            let operands = shapes.iter().map(|s| SampleOperand::f32(s)).collect();
            Sample::new(note, Concat { axis }, operands).smooth(2)
        };
        vec![
            case("outermost", 0, &[&[2, 3], &[1, 3]]),
            case("innermost", 1, &[&[2, 3], &[2, 1], &[2, 4]]),
            case("middle", 1, &[&[2, 1, 3], &[2, 2, 3]]),
            case("one", 0, &[&[5]]),
            case("with an empty one", 0, &[&[0, 2], &[3, 2], &[0, 2]]),
            case("of none", 1, &[&[0, 2], &[0, 3]]),
        ]
    }
}
