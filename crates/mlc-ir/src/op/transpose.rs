//! Permuting axes.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, CastPolicy, Cotangents, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp};
use crate::eval::{EvalError, Tensor, coordinates, linear_index};
use crate::graph::GraphBuilder;
use crate::types::Type;

/// Result axis `i` is operand axis `perm[i]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transpose {
    pub perm: Vec<usize>,
}

impl OpDef for Transpose {
    const NAME: &'static str = "transpose";

    fn doc() -> &'static str {
        "Permutes axes: result axis `i` is operand axis `perm[i]`.\n\nGradient: the inverse permutation of the cotangent."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        let x = &operands[0];
        let mut seen = self.perm.clone();
        seen.sort_unstable();
        if !seen.iter().copied().eq(0..x.rank()) {
            let title = format!("{:?} is not a permutation of the {} axes of {x}", self.perm, x.rank());
            return Err(cx.error("E0202", title, operands));
        }
        Ok(smallvec![x.with_shape(self.perm.iter().map(|&p| x.shape[p].clone()))])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("perm", &*self.perm)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Transpose { perm: a.axes("perm")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        let mut inverse = vec![0; self.perm.len()];
        for (i, &p) in self.perm.iter().enumerate() {
            inverse[p] = i;
        }
        at.first(|g| b.transpose(g, inverse))
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let x = operands[0];
        let shape: Vec<usize> = self.perm.iter().map(|&p| x.shape[p]).collect();
        let place = |at: Vec<usize>| {
            let mut source = vec![0; at.len()];
            for (i, &p) in self.perm.iter().enumerate() {
                source[p] = at[i];
            }
            linear_index(&x.shape, &source)
        };
        Ok(vec![x.pick(shape.clone(), coordinates(&shape).map(place))])
    }

    fn samples() -> Vec<Sample> {
        let case = |note: &str, shape: &[usize], perm: &[usize]| {
            Sample::new(note, Transpose { perm: perm.to_vec() }, vec![SampleOperand::f32(shape)]).smooth(2)
        };
        vec![
            case("a matrix", &[3, 5], &[1, 0]),
            case("a cycle", &[2, 3, 5], &[2, 0, 1]),
            case("four axes", &[2, 1, 3, 4], &[0, 2, 1, 3]),
            case("a scalar", &[], &[]),
            case("none", &[0, 3], &[1, 0]),
        ]
    }
}
