//! Conversion between dtypes.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::{DType, Type};

/// Conversion to another dtype: float to float rounds to nearest even, float to integer truncates and
/// saturates (NaN to 0), integers wrap, anything to bool is `x != 0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cast {
    pub to: DType,
}

impl OpDef for Cast {
    const NAME: &'static str = "cast";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        Ok(smallvec![Type::new(self.to, operands[0].shape.iter().cloned())])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("to", self.to)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Cast { to: a.dtype("to")? })
    }
}
