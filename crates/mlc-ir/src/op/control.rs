//! Ops that mean something to the compiler and nothing to the numbers.

use mlc_diag::Diagnostic;
use smallvec::{SmallVec, smallvec};

use super::{Attrs, InferCx, OpDef, Types};
use crate::types::{Device, Type};

/// `grad(y, x...)`: operands are the scalar `y`, then the values to differentiate by; one result per
/// x, of its type. Gone after differentiate. Inner ones are expanded first, so it nests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grad {
    /// Is the gradient by an x that `y` does not depend on zero (a training step: parameters may be
    /// unused), or an error (the language's `grad`)?
    pub allow_unused: bool,
}

/// Its operand, as a constant for differentiation. Gone after differentiate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StopGradient;

/// Its operand on another device. `explicit` where the program wrote `.to(device)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transfer {
    pub to: Device,
    pub explicit: bool,
}

impl OpDef for Grad {
    const NAME: &'static str = "grad";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        let Some((y, xs)) = operands.split_first() else {
            return Err(Diagnostic::bug("`grad` without operands"));
        };
        if y.rank() != 0 || !y.dtype.is_float() {
            let d = cx.error(
                "E0601",
                format!("`grad` differentiates a float scalar, this is {y}"),
                &operands[..1],
            );
            return Err(d.hint("reduce it first: `grad(sum(y), x)`"));
        }
        if let Some(x) = xs.iter().find(|x| !x.dtype.is_float()) {
            return Err(cx.error(
                "E0602",
                format!("cannot differentiate by {x}: it is not a float"),
                operands,
            ));
        }
        Ok(xs.iter().cloned().collect::<SmallVec<_>>())
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("allow_unused", self.allow_unused)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Grad { allow_unused: a.bool("allow_unused")? })
    }
}

impl OpDef for StopGradient {
    const NAME: &'static str = "stop_gradient";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        Ok(smallvec![operands[0].clone().on(None)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn from_attrs(_: &Attrs) -> Result<Self, String> {
        Ok(StopGradient)
    }
}

impl OpDef for Transfer {
    const NAME: &'static str = "transfer";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 1, operands)?;
        Ok(smallvec![Type { device: Some(self.to), ..operands[0].clone() }])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("to", self.to).with("explicit", self.explicit)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Transfer { to: a.device("to")?, explicit: a.bool("explicit")? })
    }
}
