//! What every op must state about itself.

use mlc_diag::Diagnostic;
use smallvec::SmallVec;

use super::{Attrs, InferCx, Sample};
use crate::eval::{EvalError, Tensor};
use crate::graph::{GraphBuilder, ValueId};
use crate::types::Type;

/// Result types of a node.
pub type Types = SmallVec<[Type; 1]>;

/// What an op is, in full. Every method is required: a rule cannot be missing at run time.
pub trait OpDef: Sized {
    /// The name in the text form and in diagnostics.
    const NAME: &'static str;

    /// Markdown for docs/ops.md: meaning, formula, shapes, gradient.
    fn doc() -> &'static str;

    /// dtype and shape of the results; a device only where the op fixes it, else `None`, which means
    /// the operands' device once the graph is placed. The one type rule: inference, verification and diagnostics
    /// all use it.
    ///
    /// # Errors
    /// A diagnostic that names both sides, for operands that do not fit.
    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic>;

    /// The payload as named values, in a fixed order.
    fn attrs(&self) -> Attrs;

    /// The inverse of [`OpDef::attrs`]; attributes of other names are the caller's to reject.
    ///
    /// # Errors
    /// What is missing or of the wrong kind.
    fn from_attrs(a: &Attrs) -> Result<Self, String>;

    /// Does differentiation pass through, and by which kind of rule?
    fn gradient(&self) -> Gradient;

    /// The cotangents of the operands, given some of the results': one entry for each operand, `None`
    /// where it has none. Only called where [`OpDef::gradient`] is a rule and at least one cotangent
    /// of a result is there; operands that are not [wanted](Vjp::wanted) may be left out.
    ///
    /// # Errors
    /// Those of the type rules of the nodes it adds.
    fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic>;

    /// What a mixed-precision policy may do with the operands' dtype.
    fn cast_policy(&self) -> CastPolicy;

    /// The results, in f64 and i64, by the plainest loop; dims in the payload are numbers. The
    /// oracle of the accuracy tests: it shares no code with the loop IR.
    ///
    /// # Errors
    /// An index out of range; an op that has no value of its own.
    fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError>;

    /// Applications that the table tests run: shapes with empty, size-1 and odd dims, attributes at
    /// their corners, special values.
    fn samples() -> Vec<Sample>;
}

/// How an op takes part in differentiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradient {
    /// By [`OpDef::vjp`].
    Rule,
    /// The derivative is zero wherever it exists, or there is nothing to differentiate by: the
    /// cotangent ends here. With the reason.
    Zero(&'static str),
    /// A cotangent that arrives here is a user's error. With the reason.
    NotDifferentiable(&'static str),
}

/// What a mixed-precision policy may do with an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CastPolicy {
    /// Fast and safe in the low dtype, with an f32 accumulator.
    Lower,
    /// Needs the range or the sums of f32.
    KeepF32,
    /// Runs in the widest dtype of its operands.
    Promote,
    /// Runs in whatever dtype arrives.
    Any,
    /// An error under mixed precision, with what to write instead.
    Banned(&'static str),
}

/// One entry for each operand.
pub type Cotangents = Vec<Option<ValueId>>;

/// A node as its vjp sees it.
pub struct Vjp<'a> {
    pub operands: &'a [ValueId],
    pub results: &'a [ValueId],
    /// One entry for each result.
    pub cotangents: &'a [Option<ValueId>],
    /// Which operands the differentiated values depend on.
    pub wanted: &'a [bool],
}

impl Vjp<'_> {
    /// No cotangents.
    pub fn none(&self) -> Cotangents {
        vec![None; self.operands.len()]
    }

    /// For ops of one result: the cotangent of the first operand by `f` of the result's cotangent,
    /// none for the others.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn first(
        &self,
        f: impl FnOnce(ValueId) -> Result<ValueId, Diagnostic>,
    ) -> Result<Cotangents, Diagnostic> {
        let mut out = self.none();
        if let (Some(&Some(g)), Some(true)) = (self.cotangents.first(), self.wanted.first()) {
            out[0] = Some(f(g)?);
        }
        Ok(out)
    }

    /// For ops of one result: `f(i, g)` for each wanted operand `i`.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn each(
        &self,
        mut f: impl FnMut(usize, ValueId) -> Result<Option<ValueId>, Diagnostic>,
    ) -> Result<Cotangents, Diagnostic> {
        let mut out = self.none();
        let Some(&Some(g)) = self.cotangents.first() else { return Ok(out) };
        for (i, slot) in out.iter_mut().enumerate() {
            if self.wanted[i] {
                *slot = f(i, g)?;
            }
        }
        Ok(out)
    }
}
