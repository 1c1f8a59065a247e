//! The op set: one op, one place.
//!
//! An op is a payload struct in one file of this module that implements [`OpDef`]; the list at the
//! bottom makes `enum Op` and the table [`OPS`] from them, and nothing else matches over all ops.
//! Elementwise functions are rows of one op ([`elementwise`]). Composites (softmax, gelu, layer norm)
//! are not ops: they are the prelude's, in .mlg.

mod attrs;
mod broadcast;
mod cast;
mod concat;
mod contract;
mod control;
mod elementwise;
mod flip;
mod index;
mod infer;
mod literal;
mod pad;
mod reduce;
mod reshape;
mod slice;
mod source;
mod transpose;

use mlc_diag::Diagnostic;
use smallvec::SmallVec;

use crate::types::Type;

pub use attrs::{AttrValue, Attrs};
pub use broadcast::Broadcast;
pub use cast::Cast;
pub use concat::Concat;
pub use contract::Contract;
pub use control::{Grad, StopGradient, Transfer};
pub use elementwise::{Elementwise, ScalarFn};
pub use flip::Flip;
pub use index::{Gather, ScatterAdd};
pub use infer::InferCx;
pub use literal::Literal;
pub use pad::Pad;
pub use reduce::{Reduce, ReduceKind};
pub use reshape::Reshape;
pub use slice::Slice;
pub use source::{Constant, DimScalar, Input, Iota, RandomBits, State};
pub use transpose::Transpose;

/// Result types of a node.
pub type Types = SmallVec<[Type; 1]>;

/// What an op is, in full. Every method is required: a rule cannot be missing at run time.
pub trait OpDef: Sized {
    /// The name in the text form and in diagnostics.
    const NAME: &'static str;

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

            /// See [`OpDef::attrs`].
            pub fn attrs(&self) -> Attrs {
                match self {
                    $(Op::$op(op) => op.attrs(),)*
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

        /// The names of all ops, in the order of the list.
        pub const OPS: &[&str] = &[$($op::NAME,)*];
    };
}

ops! {
    Input State Constant DimScalar Iota RandomBits
    Elementwise Cast
    Broadcast Reshape Transpose Slice Pad Concat Flip
    Reduce Contract Gather ScatterAdd
    Grad StopGradient Transfer
}
