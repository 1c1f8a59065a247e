//! The op set: one op, one place.
//!
//! An op is a payload struct in one file of this module that implements [`OpDef`]; the list at the
//! bottom makes `enum Op` and the table [`OPS`] from them, and nothing else matches over all ops.
//! Elementwise functions are rows of one op ([`elementwise`]). Composites (softmax, gelu, layer norm)
//! are not ops: they are the prelude's, in .mlg.

mod contract;
mod control;
mod elementwise;
mod index;
mod infer;
mod literal;
mod reduce;
mod shape;
mod source;

use mlc_diag::Diagnostic;
use smallvec::SmallVec;

use crate::types::Type;

pub use contract::Contract;
pub use control::{Grad, StopGradient, Transfer};
pub use elementwise::{Cast, Elementwise, ScalarFn};
pub use index::{Gather, ScatterAdd};
pub use infer::InferCx;
pub use literal::Literal;
pub use reduce::{Reduce, ReduceKind};
pub use shape::{Broadcast, Concat, Flip, Pad, Reshape, Slice, Transpose};
pub use source::{Constant, DimScalar, Input, Iota, RandomBits, State};

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
