//! Reading and adding at computed indices.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::{Shape, Type};

/// Operands: `x`, then one integer tensor per entry of `axes`, all of one shape S. The result replaces
/// the indexed axes by S, at the place of `axes[0]`:
/// `result[a.., s.., b..] = x[.., i0[s], .., i1[s], ..]`. An index out of range is a run-time fault.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gather {
    /// Ascending.
    pub axes: Vec<usize>,
    /// Do negative indices count from the end? (The `x[i]` syntax; not embeddings and labels.)
    pub wrap: bool,
}

/// Operands: `x`, the index tensors as for [`Gather`], then `src`, shaped as the gather of `x` would
/// be. The result is `x` with each element of `src` added at its place, in ascending source order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScatterAdd {
    pub axes: Vec<usize>,
    pub wrap: bool,
}

/// The shape of a gather, after checking the index operands.
fn gathered(
    cx: &mut InferCx<'_>,
    name: &str,
    axes: &[usize],
    operands: &[Type],
) -> Result<Shape, Diagnostic> {
    let x = &operands[0];
    let indices = &operands[1..1 + axes.len()];
    if axes.is_empty() || !axes.windows(2).all(|w| w[0] < w[1]) {
        return Err(Diagnostic::bug(format!("{name} axes {axes:?} are not ascending")));
    }
    for &axis in axes {
        cx.axis(axis, x)?;
    }
    for index in indices {
        if !index.dtype.is_int() {
            let title = format!("an index must be an integer tensor, this is {index}");
            return Err(cx.error("E0203", title, operands).hint("cast it: `i.cast(i64)`"));
        }
        if index.rank() != indices[0].rank() {
            return Err(cx.error(
                "E0201",
                format!("index tensors {} and {index} differ in rank", indices[0]),
                operands,
            ));
        }
        for (a, b) in indices[0].shape.iter().zip(&index.shape) {
            cx.same_dim("index tensors differ", a, b, operands)?;
        }
    }
    let mut shape: Shape = x.shape[..axes[0]].iter().cloned().collect();
    shape.extend(indices[0].shape.iter().cloned());
    shape.extend((axes[0]..x.rank()).filter(|a| !axes.contains(a)).map(|a| x.shape[a].clone()));
    Ok(shape)
}

impl OpDef for Gather {
    const NAME: &'static str = "gather";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1 + self.axes.len(), operands)?;
        let shape = gathered(cx, Self::NAME, &self.axes, operands)?;
        Ok(smallvec![Type::new(operands[0].dtype, shape)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("axes", &*self.axes).with("wrap", self.wrap)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Gather { axes: a.axes("axes")?, wrap: a.bool("wrap")? })
    }
}

impl OpDef for ScatterAdd {
    const NAME: &'static str = "scatter_add";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 2 + self.axes.len(), operands)?;
        let want = gathered(cx, Self::NAME, &self.axes, operands)?;
        let (x, src) = (&operands[0], &operands[operands.len() - 1]);
        if src.dtype != x.dtype || src.rank() != want.len() {
            let title = format!(
                "`scatter_add` into {x} takes a source of rank {} and dtype {}, this is {src}",
                want.len(),
                x.dtype
            );
            return Err(cx.error("E0203", title, operands));
        }
        for (i, (a, b)) in want.iter().zip(&src.shape).enumerate() {
            cx.same_dim(&format!("`scatter_add`: the source does not fit at axis {i}"), a, b, operands)?;
        }
        Ok(smallvec![Type::new(x.dtype, x.shape.iter().cloned())])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("axes", &*self.axes).with("wrap", self.wrap)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(ScatterAdd { axes: a.axes("axes")?, wrap: a.bool("wrap")? })
    }
}
