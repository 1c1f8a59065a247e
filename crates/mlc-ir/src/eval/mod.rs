//! The reference evaluator: whole graphs in f64, naively and independently of the loop IR.
//!
//! Input: a graph of any stage without `grad` nodes, tensors for its inputs and states, numbers for
//! its dims. Output: its results and state writes. Accuracy is judged against this; bits are the loop
//! interpreter's business. With [`Precision::Rounded`] every float result is rounded to its dtype
//! (R1: a value of dtype D is rounded to D at its node), which is closer to what runs, but sums and
//! contractions still accumulate in f64.

mod philox;
mod run;
mod tensor;

use std::fmt;

use mlc_diag::Span;

use crate::graph::NodeId;

pub use philox::{philox4x32, random_word};
pub(crate) use run::evaluate;
pub use run::{Evaluated, Precision, run, run_rounded};
pub(crate) use tensor::sizes;
pub use tensor::{Elements, Tensor, coordinates, float_to_int, linear_index, round_float, wrap_int};

/// Why a graph has no value for these inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalError {
    pub message: String,
    /// The node that failed, known to [`run`].
    pub node: Option<NodeId>,
    pub span: Span,
}

impl EvalError {
    pub fn new(message: impl Into<String>) -> EvalError {
        EvalError { message: message.into(), node: None, span: Span::NONE }
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "{node}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for EvalError {}
