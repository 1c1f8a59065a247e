//! Adding elements around a tensor.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{
    Attrs, CastPolicy, Cotangents, Gradient, InferCx, OpDef, Sample, SampleOperand, Slice, Types, Vjp,
};
use crate::eval::{EvalError, Tensor, coordinates, linear_index, sizes};
use crate::graph::GraphBuilder;
use crate::types::{DType, Dim, Relation, Type};

/// `low[i]` elements before and `high[i]` after on every axis, of the second operand's (scalar) value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pad {
    pub low: Vec<Dim>,
    pub high: Vec<Dim>,
}

impl OpDef for Pad {
    const NAME: &'static str = "pad";

    fn doc() -> &'static str {
        "Operands `x` and a scalar fill: `low[i]` elements of the fill before and `high[i]` after `x` on every axis.\n\nGradient: of `x` \
         the window of the cotangent that it fills; of the fill the sum of the cotangent outside that window."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 2, operands)?;
        let x = &operands[0];
        if self.low.len() != x.rank() || self.high.len() != x.rank() {
            return Err(Diagnostic::bug(format!("pad attributes do not fit {x}")));
        }
        if operands[1].rank() != 0 || operands[1].dtype != x.dtype {
            return Err(cx.error(
                "E0203",
                format!("the fill of a pad of {x} must be a {} scalar", x.dtype),
                operands,
            ));
        }
        for d in self.low.iter().chain(&self.high) {
            cx.require(&Dim::ZERO, Relation::Le, d, |cx| {
                cx.error("E0205", format!("cannot pad by {d}: slice instead"), operands)
            })?;
        }
        let shape = x.shape.iter().enumerate().map(|(i, d)| &(d + &self.low[i]) + &self.high[i]);
        Ok(smallvec![x.with_shape(shape)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("low", &*self.low).with("high", &*self.high)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Pad { low: a.dims("low")?, high: a.dims("high")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        let dims = b.shape(at.operands[0]);
        at.each(|i, g| {
            if i == 0 {
                let limits = dims.iter().zip(&self.low).map(|(d, l)| d + l).collect();
                let window = Slice { starts: self.low.clone(), limits, steps: vec![1; dims.len()] };
                return b.op(window, &[g]).map(Some);
            }
            let yes = b.scalar_near(g, DType::Bool, 1.0)?;
            let no = b.scalar_near(g, DType::Bool, 0.0)?;
            let inside = b.broadcast(no, dims.clone(), vec![])?;
            let outside = b.pad(inside, self.low.clone(), self.high.clone(), yes)?;
            let zero = b.full_like(g, 0.0)?;
            let kept = b.select(outside, g, zero)?;
            b.sum_all(kept).map(Some)
        })
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Promote
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (x, fill) = (operands[0], operands[1]);
        let (low, high) = (sizes(&self.low)?, sizes(&self.high)?);
        let shape: Vec<usize> = (0..x.rank()).map(|i| low[i] + x.shape[i] + high[i]).collect();
        let mut both = x.data.clone();
        both.append(&fill.data);
        let place = |at: Vec<usize>| {
            let inside = at.iter().enumerate().all(|(i, &j)| (low[i]..low[i] + x.shape[i]).contains(&j));
            let source = || at.iter().zip(&low).map(|(j, l)| j - l).collect::<Vec<_>>();
            if inside { linear_index(&x.shape, &source()) } else { x.len() }
        };
        let data = both.pick(coordinates(&shape).map(place));
        Ok(vec![Tensor { dtype: x.dtype, shape, data }])
    }

    fn samples() -> Vec<Sample> {
        let case = |note: &str, shape: &[usize], low: &[i64], high: &[i64]| {
            let dims = |d: &[i64]| d.iter().map(|&n| Dim::from(n)).collect();
            let op = Pad { low: dims(low), high: dims(high) };
            Sample::new(note, op, vec![SampleOperand::f32(shape), SampleOperand::f32(&[])])
                .smooth(2)
                .error(8.0)
        };
        vec![
            case("one side", &[3], &[2], &[0]),
            case("both sides", &[2, 3], &[1, 0], &[1, 2]),
            case("nothing", &[2, 1], &[0, 0], &[0, 0]),
            case("around none", &[0, 2], &[1, 0], &[1, 1]),
            case("a scalar", &[], &[], &[]),
        ]
    }
}
