//! A window with steps on every axis.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::{Dim, Relation, Shape, Type};

/// `starts[i] : limits[i] : steps[i]` on every axis; 0 <= start <= limit <= dim, step >= 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slice {
    pub starts: Vec<Dim>,
    pub limits: Vec<Dim>,
    pub steps: Vec<i64>,
}

impl OpDef for Slice {
    const NAME: &'static str = "slice";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        let x = &operands[0];
        let n = x.rank();
        if self.starts.len() != n
            || self.limits.len() != n
            || self.steps.len() != n
            || self.steps.iter().any(|&s| s < 1)
        {
            return Err(Diagnostic::bug(format!("slice attributes do not fit {x}")));
        }
        let mut shape = Shape::new();
        for (i, dim) in x.shape.iter().enumerate() {
            let (start, limit, step) = (&self.starts[i], &self.limits[i], self.steps[i]);
            for (a, b) in [(&Dim::ZERO, start), (start, limit), (limit, dim)] {
                cx.require(a, Relation::Le, b, |cx| {
                    let title = format!(
                        "slice {start}:{limit} is out of range at axis {i} of {x}; slices never clamp"
                    );
                    cx.error("E0205", title, operands)
                })?;
            }
            let length = limit - start;
            let rounded = &length + &Dim::from(step - 1);
            shape.push(if step == 1 { length } else { rounded.floor_div(&Dim::from(step)) });
        }
        Ok(smallvec![x.with_shape(shape)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("starts", &*self.starts).with("limits", &*self.limits).with("steps", &*self.steps)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Slice { starts: a.dims("starts")?, limits: a.dims("limits")?, steps: a.ints("steps")? })
    }
}
