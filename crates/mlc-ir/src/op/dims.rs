//! The dims among an op's attributes: for binding, and for the verifier.

use super::Op;
use crate::types::{Dim, Type};

impl Op {
    /// Every dim in the attributes. The match is exhaustive so that a new op has to decide.
    pub fn dims_mut(&mut self) -> Vec<&mut Dim> {
        fn of_type(ty: &mut Type) -> Vec<&mut Dim> {
            ty.shape.iter_mut().collect()
        }
        match self {
            Op::Input(op) => of_type(&mut op.ty),
            Op::State(op) => of_type(&mut op.ty),
            Op::DimScalar(op) => vec![&mut op.dim],
            Op::Iota(op) => op.shape.iter_mut().collect(),
            Op::RandomBits(op) => op.shape.iter_mut().collect(),
            Op::Broadcast(op) => op.shape.iter_mut().collect(),
            Op::Reshape(op) => op.shape.iter_mut().collect(),
            Op::Slice(op) => op.starts.iter_mut().chain(&mut op.limits).collect(),
            Op::Pad(op) => op.low.iter_mut().chain(&mut op.high).collect(),
            Op::Constant(_)
            | Op::Elementwise(_)
            | Op::Cast(_)
            | Op::Transpose(_)
            | Op::Concat(_)
            | Op::Flip(_)
            | Op::Reduce(_)
            | Op::Contract(_)
            | Op::Gather(_)
            | Op::ScatterAdd(_)
            | Op::Grad(_)
            | Op::StopGradient(_)
            | Op::Transfer(_) => vec![],
        }
    }

    /// Has any attribute a dim with a name in it?
    pub fn has_symbols(&self) -> bool {
        self.dims().iter().any(|d| d.as_const().is_none())
    }

    /// The same dims to read.
    pub fn dims(&self) -> Vec<Dim> {
        // Dims are reference-counted: the clone of the op is cheap, and one list of attributes is enough.
        self.clone().dims_mut().into_iter().map(|d| d.clone()).collect()
    }
}
