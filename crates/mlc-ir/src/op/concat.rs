//! Joining tensors along an axis.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::Type;

/// Joins at least one operand along an axis; the other dims are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Concat {
    pub axis: usize,
}

impl OpDef for Concat {
    const NAME: &'static str = "concat";

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
}
