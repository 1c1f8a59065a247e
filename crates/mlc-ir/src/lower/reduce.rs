//! Reductions: over trailing axes a row reduction, over leading axes a column tail. Decompose brings every
//! reduction into one of these forms.

use super::{Lower, Rule};
use crate::DType;
use crate::loops::RedOp;
use crate::op::{Reduce, ReduceKind};

impl Lower for Reduce {
    fn rule(&self) -> Rule<'_> {
        Rule::Reduce(self)
    }
}

/// The loop IR's operator.
pub fn red_op(kind: ReduceKind) -> RedOp {
    match kind {
        ReduceKind::Sum => RedOp::Sum,
        ReduceKind::Prod => RedOp::Prod,
        ReduceKind::Max => RedOp::Max,
        ReduceKind::Min => RedOp::Min,
        ReduceKind::ArgMax => RedOp::ArgMax,
        ReduceKind::ArgMin => RedOp::ArgMin,
        ReduceKind::And => RedOp::And,
        ReduceKind::Or => RedOp::Or,
    }
}

/// The dtype in which partial results are held: at least f32 (L11).
pub fn accumulator(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

/// Which axes a reduction of a decomposed graph is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// The last `n`: a result for each row.
    Trailing(usize),
    /// The first `n`: a result for each column.
    Leading(usize),
}

/// The form of a reduction of an operand of this rank; all axes count as trailing.
pub fn sides(r: &Reduce, rank: usize) -> Option<Sides> {
    let n = r.axes.len();
    if r.axes.iter().copied().eq(rank - n..rank) {
        Some(Sides::Trailing(n))
    } else if r.axes.iter().copied().eq(0..n) {
        Some(Sides::Leading(n))
    } else {
        None
    }
}
