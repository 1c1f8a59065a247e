//! Ops that move elements without computing: all of them become index maps.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{InferCx, OpDef, Types};
use crate::types::{Dim, Relation, Shape, Type};

/// Stretches the operand to `shape`: its axis `i` becomes axis `axes[i]` (ascending), where its dim is
/// the same or 1; the other axes repeat it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broadcast {
    pub shape: Shape,
    pub axes: Vec<usize>,
}

/// The same elements in row-major order under another shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reshape {
    pub shape: Shape,
}

/// Result axis `i` is operand axis `perm[i]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transpose {
    pub perm: Vec<usize>,
}

/// `starts[i] : limits[i] : steps[i]` on every axis; 0 <= start <= limit <= dim, step >= 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slice {
    pub starts: Vec<Dim>,
    pub limits: Vec<Dim>,
    pub steps: Vec<i64>,
}

/// `low[i]` elements before and `high[i]` after on every axis, of the second operand's (scalar) value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pad {
    pub low: Vec<Dim>,
    pub high: Vec<Dim>,
}

/// Joins at least one operand along an axis; the other dims are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Concat {
    pub axis: usize,
}

/// Reverses the order along each of `axes`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flip {
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
}

impl OpDef for Transpose {
    const NAME: &'static str = "transpose";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        let x = &operands[0];
        let mut seen = self.perm.clone();
        seen.sort_unstable();
        if !seen.iter().copied().eq(0..x.rank()) {
            let title = format!("{:?} is not a permutation of the {} axes of {x}", self.perm, x.rank());
            return Err(cx.error("E0202", title, operands));
        }
        Ok(smallvec![x.with_shape(self.perm.iter().map(|&p| x.shape[p].clone()))])
    }
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
}
