//! Another shape for the same elements.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::{Relation, Shape, Type};

/// The same elements in row-major order under another shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reshape {
    pub shape: Shape,
}

impl OpDef for Reshape {
    const NAME: &'static str = "reshape";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        let result = operands[0].with_shape(self.shape.iter().cloned());
        let (from, to) = (operands[0].count(), result.count());
        cx.require(&from, Relation::Eq, &to, |cx| {
            let title = format!("cannot reshape {} to {result}: {from} elements against {to}", operands[0]);
            cx.error("E0204", title, operands)
        })?;
        Ok(smallvec![result])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("shape", &*self.shape)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Reshape { shape: a.shape("shape")? })
    }
}
