//! Reversing axes.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::Type;

/// Reverses the order along each of `axes`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flip {
    pub axes: Vec<usize>,
}

impl OpDef for Flip {
    const NAME: &'static str = "flip";

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
}
