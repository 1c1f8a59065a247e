//! Ops without tensor operands: where values come from.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{InferCx, Literal, OpDef, Types};
use crate::types::{DType, Dim, Shape, Symbol, Type};

/// An input of the entry, by name; on the host until placed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Input {
    pub name: Symbol,
    pub ty: Type,
}

/// The value of a state (parameter, buffer, optimizer state, counter) at entry, by path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub path: Symbol,
    pub ty: Type,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Constant {
    pub value: Literal,
}

/// A dim as an i64 scalar; a constant once dims are bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DimScalar {
    pub dim: Dim,
}

/// The index along `axis` at every element.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Iota {
    pub dtype: DType,
    pub shape: Shape,
    pub axis: usize,
}

/// 32 random bits for every element: Philox4x32-10 with the 64-bit seed as key, counted by (element
/// index in the logical shape, site, iteration). Operands: seed (u64 scalar), iteration (u32 scalar).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RandomBits {
    /// Hash of (entry or loss name, scope path, ordinal in scope): names the place in the program.
    pub site: u32,
    pub shape: Shape,
}

impl OpDef for Input {
    const NAME: &'static str = "input";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![self.ty.clone()])
    }
}

impl OpDef for State {
    const NAME: &'static str = "state";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![self.ty.clone()])
    }
}

impl OpDef for Constant {
    const NAME: &'static str = "constant";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![self.value.ty()])
    }
}

impl OpDef for DimScalar {
    const NAME: &'static str = "dim";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![Type::scalar(DType::I64)])
    }
}

impl OpDef for Iota {
    const NAME: &'static str = "iota";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        let ty = Type::new(self.dtype, self.shape.iter().cloned());
        cx.axis(self.axis, &ty)?;
        Ok(smallvec![ty])
    }
}

impl OpDef for RandomBits {
    const NAME: &'static str = "random_bits";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 2, operands)?;
        Ok(smallvec![Type::new(DType::U32, self.shape.iter().cloned())])
    }
}
