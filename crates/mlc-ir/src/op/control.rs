//! Ops that mean something to the compiler and nothing to the numbers.

use mlc_diag::Diagnostic;
use smallvec::{SmallVec, smallvec};

use super::{Attrs, CastPolicy, Cotangents, Gradient, InferCx, OpDef, Sample, SampleOperand, Types, Vjp};
use crate::eval::{EvalError, Tensor};
use crate::graph::GraphBuilder;
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

    fn doc() -> &'static str {
        "`grad(y, x...)`: operands are a float scalar `y`, then the values to differentiate by; one result for each x, of its type. An x that `y` \
         does not depend on is an error, or zero with `allow_unused`. Expanded by the differentiate pass, inner ones first, so that it nests."
    }

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

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable("an inner `grad` is expanded before an outer one")
    }

    fn vjp(&self, _: &mut GraphBuilder<'_>, _: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        Err(Diagnostic::bug("`grad` is differentiated by expanding it"))
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, _: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Err(EvalError::new("`grad` has no value before the differentiate pass expands it"))
    }

    fn samples() -> Vec<Sample> {
        let operands = vec![SampleOperand::f32(&[]), SampleOperand::f32(&[3]), SampleOperand::f32(&[2, 0])];
        vec![Sample::new("two values", Grad { allow_unused: true }, operands)]
    }
}

impl OpDef for StopGradient {
    const NAME: &'static str = "stop_gradient";

    fn doc() -> &'static str {
        "Its operand, which differentiation takes for a constant. Gone after the differentiate pass."
    }

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

    fn gradient(&self) -> Gradient {
        Gradient::Zero("`stop_gradient` makes it a constant")
    }

    fn vjp(&self, _: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        Ok(at.none())
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![operands[0].clone()])
    }

    fn samples() -> Vec<Sample> {
        vec![Sample::new("a matrix", StopGradient, vec![SampleOperand::f32(&[2, 3])])]
    }
}

impl OpDef for Transfer {
    const NAME: &'static str = "transfer";

    fn doc() -> &'static str {
        "Its operand on the device `to`; `explicit` where the program wrote `.to(device)`.\n\nGradient: the transfer of the cotangent back, as explicit as \
         this one."
    }

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

    fn gradient(&self) -> Gradient {
        Gradient::Rule
    }

    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
        let from = b.ty(at.operands[0]).device;
        at.first(|g| match from {
            Some(to) if b.ty(g).device != from => b.op(Transfer { to, explicit: self.explicit }, &[g]),
            _ => Ok(g),
        })
    }

    fn cast_policy(&self) -> CastPolicy {
        CastPolicy::Any
    }

    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![operands[0].clone()])
    }

    fn samples() -> Vec<Sample> {
        let op = Transfer { to: Device::cpu(1), explicit: true };
        vec![Sample::new("to another device", op, vec![SampleOperand::f32(&[2, 3])]).smooth(2)]
    }
}
