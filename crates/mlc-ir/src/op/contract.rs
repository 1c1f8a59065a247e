//! The one contraction: matmul, einsum, attention scores, weight gradients.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, CastPolicy, Cotangents, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp};
use crate::eval::{EvalError, Tensor, coordinates, linear_index};
use crate::graph::{GraphBuilder, ValueId};
use crate::types::{Shape, Type};

/// Sums products over paired axes. Result axes: the batch pairs in order, then the other axes of the
/// lhs, then those of the rhs. Floats accumulate in f32 (f64 for f64); both operands have one dtype.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Contract {
    /// Pairs (lhs axis, rhs axis) that are kept and run in step.
    pub batch: Vec<(usize, usize)>,
    /// Pairs (lhs axis, rhs axis) that are summed over, in this order.
    pub sum: Vec<(usize, usize)>,
}

impl Contract {
    /// The axes of the lhs (`side` 0) or rhs (1) that are neither batch nor summed.
    pub fn free_axes(&self, side: usize, rank: usize) -> Vec<usize> {
        let used = |axis: usize| {
            self.batch.iter().chain(&self.sum).any(|p| if side == 0 { p.0 == axis } else { p.1 == axis })
        };
        (0..rank).filter(|&a| !used(a)).collect()
    }

    /// The cotangent of one side from that of the result, `g`: contract it with the other side over the
    /// other's free axes, then put the axes in the order they have in this side.
    fn pull(
        &self,
        b: &mut GraphBuilder<'_>,
        at: &Vjp<'_>,
        side: usize,
        g: ValueId,
    ) -> Result<ValueId, Diagnostic> {
        let mine = |p: &(usize, usize)| if side == 0 { p.0 } else { p.1 };
        let theirs = |p: &(usize, usize)| if side == 0 { p.1 } else { p.0 };
        let other = at.operands[1 - side];
        let my_free = self.free_axes(side, b.ty(at.operands[side]).rank());
        let their_free = self.free_axes(1 - side, b.ty(other).rank());
        let batches = self.batch.len();
        let their_first = if side == 0 { batches + my_free.len() } else { batches };
        let batch = self.batch.iter().enumerate().map(|(k, p)| (k, theirs(p)));
        let sum = their_free.iter().enumerate().map(|(k, &axis)| (their_first + k, axis));
        // The summed axes of the other side stay free, in its order.
        let mut summed: Vec<(usize, usize)> = self.sum.iter().map(|p| (theirs(p), mine(p))).collect();
        summed.sort_unstable();
        let batch_axes: Vec<usize> = self.batch.iter().map(mine).collect();
        let sum_axes: Vec<usize> = summed.iter().map(|p| p.1).collect();
        let g_first = [batch_axes.clone(), my_free.clone(), sum_axes.clone()].concat();
        let other_first = [batch_axes, sum_axes, my_free].concat();
        let in_order = |axes: &[usize]| axes.windows(2).all(|w| w[0] < w[1]);
        // Whichever order of the two needs no transpose.
        let (axes, v) = if in_order(&other_first) && !in_order(&g_first) {
            let swap = |(i, j): (usize, usize)| (j, i);
            (other_first, b.contract(other, g, batch.map(swap).collect(), sum.map(swap).collect())?)
        } else {
            (g_first, b.contract(g, other, batch.collect(), sum.collect())?)
        };
        let mut perm = vec![0; axes.len()];
        for (i, &axis) in axes.iter().enumerate() {
            perm[axis] = i;
        }
        b.transpose(v, perm)
    }
}

impl OpDef for Contract {
    const NAME: &'static str = "contract";

    fn doc() -> &'static str {
        "Sums products over paired axes: matrix product, einsum, attention scores, weight gradients. \
         `y[batch.., free_a.., free_b..] = sum over sum pairs of a[..] * b[..]`: the result's axes are the batch pairs in order, then the other \
         axes of the lhs, then those of the rhs, each ascending. Floats of one dtype, accumulated in f32 (f64 for f64).\n\n \
         Gradient: two contractions of the cotangent, with the rhs over the rhs's free axes and with the lhs over the lhs's."
    }

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 2, operands)?;
        let (a, b) = (&operands[0], &operands[1]);
        if a.dtype != b.dtype || !a.dtype.is_float() {
            let title = format!("a contraction takes two tensors of one float dtype: {a} against {b}");
            return Err(cx.error("E0203", title, operands).hint("cast one side: `x.cast(f32)`"));
        }
        for &(i, j) in self.batch.iter().chain(&self.sum) {
            cx.axis(i, a)?;
            cx.axis(j, b)?;
            let what = format!("cannot contract {a} with {b}: axis {i} does not match axis {j}");
            cx.same_dim(&what, &a.shape[i], &b.shape[j], operands)?;
        }
        let free_a = self.free_axes(0, a.rank());
        let free_b = self.free_axes(1, b.rank());
        let pairs = self.batch.len() + self.sum.len();
        if free_a.len() + pairs != a.rank() || free_b.len() + pairs != b.rank() {
            return Err(Diagnostic::bug(format!("contract names an axis twice: {self:?}")));
        }
        let batch = self.batch.iter().map(|&(i, _)| a.shape[i].clone());
        let free_a = free_a.iter().map(|&i| a.shape[i].clone());
        let free_b = free_b.iter().map(|&j| b.shape[j].clone());
        let shape: Shape = batch.chain(free_a).chain(free_b).collect();
        Ok(smallvec![Type::new(a.dtype, shape)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("batch", &*self.batch).with("sum", &*self.sum)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Contract { batch: a.axis_pairs("batch")?, sum: a.axis_pairs("sum")? })
    }

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        at.each(|side, g| self.pull(b, at, side, g).map(Some))
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Lower
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let (a, b) = (operands[0], operands[1]);
        let (free_a, free_b) = (self.free_axes(0, a.rank()), self.free_axes(1, b.rank()));
        let kept: Vec<usize> = self.batch.iter().map(|p| a.shape[p.0]).collect();
        let rows: Vec<usize> = free_a.iter().map(|&i| a.shape[i]).collect();
        let columns: Vec<usize> = free_b.iter().map(|&j| b.shape[j]).collect();
        let shape = [kept, rows, columns].concat();
        let summed: Vec<usize> = self.sum.iter().map(|p| a.shape[p.0]).collect();
        let (x, y) = (a.to_f64(), b.to_f64());
        let terms: Vec<Vec<usize>> = coordinates(&summed).collect();
        let (mut at_a, mut at_b) = (vec![0; a.rank()], vec![0; b.rank()]);
        let mut values = vec![];
        for at in coordinates(&shape) {
            for (k, &(i, j)) in self.batch.iter().enumerate() {
                (at_a[i], at_b[j]) = (at[k], at[k]);
            }
            let (first_a, first_b) = (self.batch.len(), self.batch.len() + free_a.len());
            free_a.iter().enumerate().for_each(|(k, &i)| at_a[i] = at[first_a + k]);
            free_b.iter().enumerate().for_each(|(k, &j)| at_b[j] = at[first_b + k]);
            let mut total = 0.0;
            for term in &terms {
                for (k, &(i, j)) in self.sum.iter().enumerate() {
                    (at_a[i], at_b[j]) = (term[k], term[k]);
                }
                total += x[linear_index(&a.shape, &at_a)] * y[linear_index(&b.shape, &at_b)];
            }
            values.push(total);
        }
        Ok(vec![Tensor::from_f64(a.dtype, &shape, &values)])
    }

    fn samples() -> Vec<Sample> {
        let case =
            |note: &str, a: &[usize], b: &[usize], batch: &[(usize, usize)], sum: &[(usize, usize)]| {
                let op = Contract { batch: batch.to_vec(), sum: sum.to_vec() };
                Sample::new(note, op, vec![SampleOperand::f32(a), SampleOperand::f32(b)])
                    .error(64.0)
                    .smooth(2)
            };
        vec![
            case("a linear layer: weights [out, in]", &[5, 7], &[3, 7], &[], &[(1, 1)]),
            case("a matrix product", &[4, 3], &[3, 5], &[], &[(1, 0)]),
            case("batched, scores", &[2, 3, 4, 5], &[2, 3, 6, 5], &[(0, 0), (1, 1)], &[(3, 3)]),
            case("batch in the middle", &[3, 2, 4], &[4, 5, 2], &[(1, 2)], &[(2, 0)]),
            case("two sums out of order", &[2, 3, 4], &[4, 2, 5], &[], &[(2, 0), (0, 1)]),
            case("batch out of order", &[2, 3, 4], &[3, 4, 2], &[(1, 0), (0, 2)], &[(2, 1)]),
            case("dot", &[7], &[7], &[], &[(0, 0)]),
            case("outer", &[3], &[4], &[], &[]),
            case("elementwise", &[3, 2], &[3, 2], &[(0, 0), (1, 1)], &[]),
            case("dims of 1", &[1, 1], &[1, 1], &[], &[(1, 0)]),
            case("an empty sum", &[3, 0], &[0, 2], &[], &[(1, 0)]),
            case("no rows", &[0, 3], &[3, 2], &[], &[(1, 0)]),
            case("scalars", &[], &[], &[], &[]),
            case("long sums", &[2, 300], &[3, 300], &[], &[(1, 1)]).error(512.0).smooth(0),
        ]
    }
}
