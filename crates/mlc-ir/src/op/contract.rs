//! The one contraction: matmul, einsum, attention scores, weight gradients.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
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
}

impl OpDef for Contract {
    const NAME: &'static str = "contract";

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
}
