//! Adding elements around a tensor.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::{Dim, Relation, Type};

/// `low[i]` elements before and `high[i]` after on every axis, of the second operand's (scalar) value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pad {
    pub low: Vec<Dim>,
    pub high: Vec<Dim>,
}

impl OpDef for Pad {
    const NAME: &'static str = "pad";

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
}
