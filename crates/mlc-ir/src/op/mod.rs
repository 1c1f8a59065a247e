//! The op set: one op, one place.
//!
//! An op is a payload struct in one file of this module that implements [`OpDef`]; the list at the
//! bottom makes `enum Op` and the table [`OPS`] from them, and nothing else matches over all ops.
//! Elementwise functions are rows of one op (`elementwise`). Composites (softmax, gelu, layer norm)
//! are not ops: they are the prelude's, in .mlg.

mod attrs;
mod broadcast;
mod cast;
mod concat;
mod contract;
mod control;
mod def;
mod docs;
mod elementwise;
mod flip;
mod index;
mod infer;
mod literal;
mod pad;
mod reduce;
mod reshape;
mod sample;
mod scan;
mod slice;
mod source;
#[cfg(test)]
mod tests;
mod transpose;

use mlc_diag::Diagnostic;

use crate::eval::{EvalError, Tensor};
use crate::graph::GraphBuilder;
use crate::types::Type;

pub use attrs::{AttrValue, Attrs};
pub use broadcast::Broadcast;
pub use cast::Cast;
pub use concat::Concat;
pub use contract::Contract;
pub use control::{Grad, StopGradient, Transfer};
pub use def::{CastPolicy, Cotangents, Gradient, OpDef, Types, Vjp};
pub use docs::ops_markdown;
pub use elementwise::{Chain, Derivative, Elementwise, ROWS, Row, ScalarFn, Signature};
pub use flip::Flip;
pub use index::{Gather, ScatterAdd};
pub use infer::InferCx;
pub use literal::Literal;
pub use pad::Pad;
pub use reduce::{Reduce, ReduceKind};
pub use reshape::Reshape;
pub use sample::{Domain, Sample, SampleOperand, epsilon, fingerprint};
pub use scan::{Port, Scan, ScanBody};
pub use slice::Slice;
pub use source::{Constant, DimScalar, Input, Iota, RandomBits, State};
pub use transpose::Transpose;

/// One op of the table, for docs and tests.
pub struct OpRow {
    pub name: &'static str,
    /// See [`OpDef::doc`].
    pub doc: fn() -> &'static str,
    /// See [`OpDef::samples`].
    pub samples: fn() -> Vec<Sample>,
}

/// The samples of all ops.
pub fn samples() -> Vec<Sample> {
    OPS.iter().flat_map(|row| (row.samples)()).collect()
}

macro_rules! ops {
    ($($op:ident)*) => {
        /// An operation with its attributes.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Op {
            $($op($op),)*
        }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Op {
                Op::$op(op)
            }
        })*

        impl Op {
            /// The op's name in the text form.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Op::$op(_) => $op::NAME,)*
                }
            }

            /// See [`OpDef::infer`].
            ///
            /// # Errors
            /// Where operands do not fit the op.
            pub fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
                match self {
                    $(Op::$op(op) => op.infer(cx, operands),)*
                }
            }

            /// How the op becomes loop IR.
            pub fn lowering(&self) -> &dyn crate::lower::Lower {
                match self {
                    $(Op::$op(op) => op,)*
                }
            }

            /// See [`OpDef::attrs`].
            pub fn attrs(&self) -> Attrs {
                match self {
                    $(Op::$op(op) => op.attrs(),)*
                }
            }

            /// See [`OpDef::gradient`].
            pub fn gradient(&self) -> Gradient {
                match self {
                    $(Op::$op(op) => op.gradient(),)*
                }
            }

            /// See [`OpDef::vjp`].
            ///
            /// # Errors
            /// Those of the type rules of the nodes it adds.
            pub fn vjp(&self, b: &mut GraphBuilder<'_>, at: &Vjp<'_>) -> Result<Cotangents, Diagnostic> {
                match self {
                    $(Op::$op(op) => op.vjp(b, at),)*
                }
            }

            /// See [`OpDef::cast_policy`].
            pub fn cast_policy(&self) -> CastPolicy {
                match self {
                    $(Op::$op(op) => op.cast_policy(),)*
                }
            }

            /// See [`OpDef::eval`].
            ///
            /// # Errors
            /// An index out of range, an unbound dim, an op without a value of its own.
            pub fn eval(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>, EvalError> {
                match self {
                    $(Op::$op(op) => op.eval(operands),)*
                }
            }

            /// The op of this name with these attributes: the inverse of [`Op::name`] and [`Op::attrs`].
            ///
            /// # Errors
            /// An unknown op; an attribute that is missing, unknown or of the wrong kind.
            pub fn from_attrs(name: &str, attrs: &Attrs) -> Result<Op, String> {
                let op: Op = match name {
                    $($op::NAME => $op::from_attrs(attrs)?.into(),)*
                    _ => return Err(format!("`{name}` is not an op")),
                };
                let known = op.attrs();
                match attrs.iter().find(|(n, _)| known.get(n).is_err()) {
                    Some((n, _)) => Err(format!("`{name}` has no attribute `{n}`")),
                    None => Ok(op),
                }
            }
        }

        /// All ops, in the order of the list.
        pub static OPS: &[OpRow] =
            &[$(OpRow { name: $op::NAME, doc: $op::doc, samples: $op::samples },)*];
    };
}

ops! {
    Input State Constant DimScalar Iota RandomBits
    Elementwise Cast
    Broadcast Reshape Transpose Slice Pad Concat Flip
    Reduce Contract Gather ScatterAdd
    Scan
    Grad StopGradient Transfer
}
