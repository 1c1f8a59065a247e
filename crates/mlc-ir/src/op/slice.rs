//! A window with steps on every axis.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, CastPolicy, Cotangents, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp};
use crate::eval::{EvalError, Tensor, coordinates, linear_index, sizes};
use crate::graph::{GraphBuilder, ValueId};
use crate::types::{Dim, Relation, Shape, Type};

/// `starts[i] : limits[i] : steps[i]` on every axis; 0 <= start <= limit <= dim, step >= 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slice {
    pub starts: Vec<Dim>,
    pub limits: Vec<Dim>,
    pub steps: Vec<i64>,
}

impl OpDef for Slice {
    const NAME: &'static str = "slice";

    fn doc() -> &'static str {
        "`x[starts[i] : limits[i] : steps[i]]` on every axis, with `0 <= start <= limit <= dim` and `step >= 1`: slices never clamp. The \
         length is `ceil((limit - start) / step)`.\n\nGradient: the cotangent at its place among zeros."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        let x = &operands[0];
        let n = x.rank();
        if self.starts.len() != n
            || self.limits.len() != n
            || self.steps.len() != n
            || self.steps.iter().any(|&s| s < 1)
        {
            return Err(Diagnostic::bug(format!("slice attributes do not fit {x}")));
        }
        let mut shape = Shape::new();
        for (i, dim) in x.shape.iter().enumerate() {
            let (start, limit, step) = (&self.starts[i], &self.limits[i], self.steps[i]);
            for (a, b) in [(&Dim::ZERO, start), (start, limit), (limit, dim)] {
                cx.require(a, Relation::Le, b, |cx| {
                    let title = format!(
                        "slice {start}:{limit} is out of range at axis {i} of {x}; slices never clamp"
                    );
                    cx.error("E0205", title, operands)
                })?;
            }
            let length = limit - start;
            let rounded = &length + &Dim::from(step - 1);
            shape.push(if step == 1 { length } else { rounded.floor_div(&Dim::from(step)) });
        }
        Ok(smallvec![x.with_shape(shape)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("starts", &*self.starts).with("limits", &*self.limits).with("steps", &*self.steps)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Slice { starts: a.dims("starts")?, limits: a.dims("limits")?, steps: a.ints("steps")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        at.first(|g| {
            let mut g = g;
            for (axis, &step) in self.steps.iter().enumerate().filter(|(_, s)| **s > 1) {
                g = dilate(b, g, axis, step, &(&self.limits[axis] - &self.starts[axis]))?;
            }
            let dims = b.shape(at.operands[0]);
            let high = dims.iter().zip(&self.limits).map(|(d, l)| d - l).collect();
            let zero = b.scalar_near(g, b.ty(g).dtype, 0.0)?;
            b.pad(g, self.starts.clone(), high, zero)
        })
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0];
        let (starts, limits) = (sizes(&self.starts)?, sizes(&self.limits)?);
        let steps: Vec<usize> = self.steps.iter().map(|&s| s.max(1) as usize).collect();
        if limits.iter().zip(&x.shape).any(|(l, d)| l > d) || starts.iter().zip(&limits).any(|(s, l)| s > l) {
            return Err(EvalError::new(format!(
                "slice {starts:?}:{limits:?} is out of range of {:?}",
                x.shape
            )));
        }
        let shape: Vec<usize> = (0..x.rank()).map(|i| (limits[i] - starts[i]).div_ceil(steps[i])).collect();
        let place = |at: Vec<usize>| {
            let source = at.iter().enumerate().map(|(i, j)| starts[i] + j * steps[i]);
            linear_index(&x.shape, &source.collect::<Vec<_>>())
        };
        Ok(vec![x.pick(shape.clone(), coordinates(&shape).map(place))])
    }

    fn samples() -> Vec<Sample> {
        let case = |note: &str, shape: &[usize], starts: &[i64], limits: &[i64], steps: &[i64]| {
            let dims = |d: &[i64]| d.iter().map(|&n| Dim::from(n)).collect();
            let op = Slice { starts: dims(starts), limits: dims(limits), steps: steps.to_vec() };
            Sample::new(note, op, vec![SampleOperand::f32(shape)]).smooth(2)
        };
        vec![
            case("a window", &[5, 7], &[1, 2], &[4, 7], &[1, 1]),
            case("steps that come out", &[8], &[0], &[8], &[2]),
            case("steps that do not", &[9, 7], &[1, 0], &[9, 7], &[3, 5]),
            case("one of a step beyond", &[4], &[3], &[4], &[3]),
            case("nothing", &[5], &[2], &[2], &[1]),
            case("nothing by steps", &[5], &[5], &[5], &[2]),
            case("all", &[3, 1], &[0, 0], &[3, 1], &[1, 1]),
            case("a scalar", &[], &[], &[], &[]),
            case("of none", &[0, 2], &[0, 0], &[0, 1], &[1, 1]),
        ]
    }
}

/// Spreads `v` along an axis so that its elements lie `step` apart, zeros between, over `length`:
/// a zero-padded axis of its own for each element's group, merged and cut.
fn dilate(
    b: &mut GraphBuilder<'_>,
    v: ValueId,
    axis: usize,
    step: i64,
    length: &Dim,
) -> Result<ValueId, Diagnostic> {
    let mut grouped = b.shape(v);
    let count = grouped[axis].clone();
    grouped.insert(axis + 1, Dim::ONE);
    let apart = b.reshape(v, grouped.clone())?;
    let mut high = vec![Dim::ZERO; grouped.len()];
    high[axis + 1] = Dim::from(step - 1);
    let zero = b.scalar_near(v, b.ty(v).dtype, 0.0)?;
    let padded = b.pad(apart, vec![Dim::ZERO; grouped.len()], high, zero)?;
    let mut merged = b.shape(v);
    merged[axis] = &count * &Dim::from(step);
    let merged = b.reshape(padded, merged)?;
    b.slice_axis(merged, axis, Dim::ZERO, length.clone())
}
