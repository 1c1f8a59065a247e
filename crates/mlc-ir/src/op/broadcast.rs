//! Stretching: the one place where values repeat.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
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
}
