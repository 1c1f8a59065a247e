//! Permuting axes.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::Type;

/// Result axis `i` is operand axis `perm[i]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transpose {
    pub perm: Vec<usize>,
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

    fn attrs(&self) -> Attrs {
        Attrs::new().with("perm", &*self.perm)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Transpose { perm: a.axes("perm")? })
    }
}
