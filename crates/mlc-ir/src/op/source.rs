//! Ops without tensor operands: where values come from.

use mlc_diag::Diagnostic;
use smallvec::smallvec;

use super::{Attrs, InferCx, Literal, OpDef, Types};
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

    fn attrs(&self) -> Attrs {
        Attrs::new().with("name", &*self.name).with("type", self.ty.clone())
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Input { name: a.symbol("name")?, ty: a.ty("type")? })
    }
}

impl OpDef for State {
    const NAME: &'static str = "state";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![self.ty.clone()])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("path", &*self.path).with("type", self.ty.clone())
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(State { path: a.symbol("path")?, ty: a.ty("type")? })
    }
}

impl OpDef for Constant {
    const NAME: &'static str = "constant";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![self.value.ty()])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("value", self.value.clone())
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Constant { value: a.literal("value")? })
    }
}

impl OpDef for DimScalar {
    const NAME: &'static str = "dim";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 0, operands)?;
        Ok(smallvec![Type::scalar(DType::I64)])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("dim", self.dim.clone())
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(DimScalar { dim: a.dim("dim")? })
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

    fn attrs(&self) -> Attrs {
        Attrs::new().with("dtype", self.dtype).with("shape", &*self.shape).with("axis", self.axis)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(Iota { dtype: a.dtype("dtype")?, shape: a.shape("shape")?, axis: a.axis("axis")? })
    }
}

impl OpDef for RandomBits {
    const NAME: &'static str = "random_bits";

    fn infer(&self, cx: &mut InferCx<'_>, operands: &[Type]) -> Result<Types, Diagnostic> {
        cx.arity(Self::NAME, 2, operands)?;
        Ok(smallvec![Type::new(DType::U32, self.shape.iter().cloned())])
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().with("site", self.site).with("shape", &*self.shape)
    }

    fn from_attrs(a: &Attrs) -> Result<Self, String> {
        Ok(RandomBits { site: a.u32("site")?, shape: a.shape("shape")? })
    }
}
