//! Values without tensor operands.

use mlc_diag::Diagnostic;

use super::coords::row_major;
use super::{Cost, Element, Emitter, Lower, Rule, Weight};
use crate::graph::{Graph, Node};
use crate::loops::{ExprId, Func, Index, Lit};
use crate::op::{Constant, DimScalar, Input, Iota, Literal, RandomBits, State};
use crate::{DType, Type};

impl Lower for Input {
    fn rule(&self) -> Rule<'_> {
        Rule::Stored
    }
}

impl Lower for State {
    fn rule(&self) -> Rule<'_> {
        Rule::Stored
    }
}

impl Lower for DimScalar {
    fn rule(&self) -> Rule<'_> {
        Rule::Gone
    }
}

impl Lower for Constant {
    /// One value throughout is an immediate; other constants lie in memory.
    fn rule(&self) -> Rule<'_> {
        if uniform(&self.value).is_some() { Rule::Element(self) } else { Rule::Stored }
    }
}

/// The value of all elements, where it is one.
pub fn uniform(value: &Literal) -> Option<Lit> {
    let size = value.dtype().size();
    let mut elements = value.bytes().chunks_exact(size);
    let first = elements.next()?;
    if !elements.all(|e| e == first) {
        return None;
    }
    let mut wide = [0u8; 8];
    if cfg!(target_endian = "little") {
        wide[..size].copy_from_slice(first);
    } else {
        wide[8 - size..].copy_from_slice(first);
    }
    Some(Lit { dtype: value.dtype(), bits: u64::from_ne_bytes(wide) })
}

impl Element for Constant {
    fn element(&self, e: &mut Emitter<'_>, _: &Node, _: &[Index]) -> Result<ExprId, Diagnostic> {
        // Without elements there is nothing to be asked for: any value serves.
        Ok(e.body.lit(uniform(&self.value).unwrap_or(Lit::zero(self.value.dtype()))))
    }

    fn cost(&self, _: &Node) -> Cost {
        Cost { exprs: 1, weight: Weight::Free }
    }
}

impl Lower for Iota {
    fn rule(&self) -> Rule<'_> {
        Rule::Element(self)
    }
}

impl Element for Iota {
    fn element(&self, e: &mut Emitter<'_>, _: &Node, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let Some(index) = coords.get(self.axis) else {
            return Err(Diagnostic::bug("iota along an axis that it lacks"));
        };
        e.note(index);
        let position = e.body.index_value(index);
        Ok(e.cast(self.dtype, position))
    }

    fn cost(&self, _: &Node) -> Cost {
        Cost { exprs: 4, weight: Weight::Free }
    }
}

impl Lower for RandomBits {
    fn rule(&self) -> Rule<'_> {
        Rule::Element(self)
    }
}

/// Counted by the element's index in the logical shape: where the element is used does not matter.
impl Element for RandomBits {
    fn element(&self, e: &mut Emitter<'_>, node: &Node, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let shape = Type::new(DType::U32, self.shape.iter().cloned()).bound_shape();
        let Some(shape) = shape else { return Err(Diagnostic::bug("random bits of an unbound shape")) };
        let shape: Vec<u64> = shape.into_iter().map(|d| d as u64).collect();
        let seed = e.value(node.operands[0], &[])?;
        let iteration = e.value(node.operands[1], &[])?;
        let index = row_major(coords, &shape);
        e.note(&index);
        let index = e.body.index_value(&index);
        let index = e.cast(DType::U64, index);
        let site = e.body.lit(Lit::u32(self.site));
        Ok(e.body.call(Func::Philox, &[seed, index, site, iteration]))
    }

    fn reads(&self, _: &Graph, _: &Node, _: usize, _: &[Index]) -> Option<super::Coords> {
        Some(super::Coords::new())
    }

    fn cost(&self, node: &Node) -> Cost {
        Cost { exprs: 6 + 3 * node.results[0].rank() as u32, weight: Weight::Free }
    }
}
