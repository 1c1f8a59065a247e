//! Contractions: matmul, batched matmul, convolution. `out[b, m, n] = sum over k of lhs[b, m, k] * rhs[b, n, k]`,
//! then an epilogue over each product. A transpose is an index map of an operand; a convolution's operand is the
//! unfolding map with guards.

use serde::{Deserialize, Serialize};

use super::body::{Analysis, Axis, Expr, ExprId, ExprOp, LoopBody};
use super::index::{AxisId, Load};
use crate::DType;

/// Length of the chunks of k in the canonical order (R7).
pub const KC: u64 = 256;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contraction {
    pub batch: Vec<Axis>,
    pub m: Vec<Axis>,
    pub n: Vec<Axis>,
    pub k: Vec<Axis>,
    /// Over batch, m, k.
    pub lhs: Operand,
    /// Over batch, n, k.
    pub rhs: Operand,
    /// Of both operands' values and the product: f32, f64 or an integer.
    pub acc: DType,
    pub rounding: Rounding,
    /// Rows are the batch and m axes, columns the n axes; [`ExprOp::Product`] is the sum. No reductions.
    pub epilogue: LoopBody,
}

/// A value over the contraction's axes, numbered batch, m, n, k. `exprs[value]` is usually a plain load; casts
/// of narrower elements and other element-wise work may stand between.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Operand {
    pub exprs: Vec<Expr>,
    pub value: ExprId,
}

/// Whether the sum's order is fixed (R7, bit for bit on every device) or the back end's: then deterministic for one
/// machine and plan, and named in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Rounding {
    #[default]
    Canonical,
    /// The back end may use any order; the canonical one is always allowed.
    Free,
}

impl Operand {
    /// The operand's load, if nothing else is computed.
    pub fn as_load(&self) -> Option<&Load> {
        match &self.exprs.get(self.value.ix())?.op {
            ExprOp::Load(load) => Some(load),
            _ => None,
        }
    }
}

impl Contraction {
    /// All axes in the operands' numbering: batch, m, n, k.
    pub fn axes(&self) -> impl Iterator<Item = &Axis> {
        self.batch.iter().chain(&self.m).chain(&self.n).chain(&self.k)
    }

    /// The first axis of k in the operands' numbering.
    pub fn first_k(&self) -> AxisId {
        AxisId((self.batch.len() + self.m.len() + self.n.len()) as u32)
    }

    /// The first axis of n, in the operands' and in the epilogue's numbering.
    pub fn first_n(&self) -> AxisId {
        AxisId((self.batch.len() + self.m.len()) as u32)
    }

    pub fn first_m(&self) -> AxisId {
        AxisId(self.batch.len() as u32)
    }

    /// An operand as a body over all axes as columns, so that analyses of bodies work on it.
    pub fn operand_body(&self, operand: &Operand) -> LoopBody {
        LoopBody { cols: self.axes().copied().collect(), exprs: operand.exprs.clone(), ..LoopBody::default() }
    }

    pub fn epilogue_analysis(&self) -> Analysis {
        Analysis::of(&self.epilogue)
    }
}
