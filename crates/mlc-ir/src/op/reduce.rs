//! Reductions over axes.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::{DType, DTypeKind, Relation, Type};

/// Reduces over `axes` (ascending, at least one), which the result lacks. The order of additions is
/// the loop IR's row and column trees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reduce {
    pub kind: ReduceKind,
    pub axes: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReduceKind {
    Sum,
    Prod,
    Max,
    Min,
    /// The linear index over `axes` of the greatest, as i64; the first among equals, NaN greatest.
    ArgMax,
    ArgMin,
    And,
    Or,
}

impl ReduceKind {
    pub const ALL: [ReduceKind; 8] = [
        ReduceKind::Sum,
        ReduceKind::Prod,
        ReduceKind::Max,
        ReduceKind::Min,
        ReduceKind::ArgMax,
        ReduceKind::ArgMin,
        ReduceKind::And,
        ReduceKind::Or,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ReduceKind::Sum => "sum",
            ReduceKind::Prod => "prod",
            ReduceKind::Max => "max",
            ReduceKind::Min => "min",
            ReduceKind::ArgMax => "argmax",
            ReduceKind::ArgMin => "argmin",
            ReduceKind::And => "and",
            ReduceKind::Or => "or",
        }
    }

    /// The kind of this name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn find(name: &str) -> Result<ReduceKind, String> {
        let found = ReduceKind::ALL.into_iter().find(|k| k.name() == name);
        found.ok_or_else(|| format!("`{name}` is not a reduction"))
    }

    /// Has an empty axis no result? (The others give their identity.)
    pub fn needs_elements(self) -> bool {
        matches!(self, ReduceKind::Max | ReduceKind::Min | ReduceKind::ArgMax | ReduceKind::ArgMin)
    }
}

impl OpDef for Reduce {
    const NAME: &'static str = "reduce";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        let x = &operands[0];
        let name = self.kind.name();
        for &axis in &self.axes {
            cx.axis(axis, x)?;
        }
        if self.axes.is_empty() || !self.axes.windows(2).all(|w| w[0] < w[1]) {
            return Err(Diagnostic::bug(format!("reduce axes {:?} are not ascending", self.axes)));
        }
        let logical = matches!(self.kind, ReduceKind::And | ReduceKind::Or);
        if logical != (x.dtype.kind() == DTypeKind::Bool) {
            let hint = if logical { "compare first: `x != 0`" } else { "cast it first: `x.cast(f32)`" };
            return Err(cx
                .error("E0203", format!("`{name}` does not take {}", x.dtype), operands)
                .hint(hint));
        }
        if self.kind.needs_elements() {
            for &axis in &self.axes {
                let one = crate::types::Dim::ONE;
                cx.require(&one, Relation::Le, &x.shape[axis], |cx| {
                    cx.error(
                        "E0207",
                        format!("`{name}` over axis {axis} of {x}, which may be empty"),
                        operands,
                    )
                })?;
            }
        }
        let dtype =
            if matches!(self.kind, ReduceKind::ArgMax | ReduceKind::ArgMin) { DType::I64 } else { x.dtype };
        let kept = x.shape.iter().enumerate().filter(|(i, _)| !self.axes.contains(i)).map(|(_, d)| d.clone());
        Ok(smallvec![Type::new(dtype, kept)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("kind", self.kind.name()).with("axes", &*self.axes)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Reduce { kind: ReduceKind::find(a.str("kind")?)?, axes: a.axes("axes")? })
    }
}
