//! Padding and concatenation: guarded loads.

use mlc_diag::Diagnostic;

use super::{Cost, Element, Emitter, Lower, Rule, Weight};
use crate::graph::{Graph, Node};
use crate::loops::{ExprId, Index, Prim};
use crate::mutate::{Mutation, on};
use crate::op::{Concat, Pad};

impl Lower for Pad {
    fn rule(&self) -> Rule<'_> {
        Rule::Element(self)
    }
}

/// Inside `low <= i < low + dim` on every axis the operand, elsewhere the fill.
impl Element for Pad {
    fn element(&self, e: &mut Emitter<'_>, node: &Node, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let shape = e.shape(node.operands[0])?;
        let mut inside = None;
        let mut inner = super::Coords::new();
        for (axis, c) in coords.iter().enumerate() {
            let number = |d: &crate::Dim| d.as_const().unwrap_or(0);
            let (low, high) = (number(&self.low[axis]), number(&self.high[axis]));
            let extent = shape[axis] as i64;
            inner.push(c.clone().plus(-low));
            if low != 0 || high != 0 {
                e.note(c);
                let from = if on(Mutation::DropGuard) { 0 } else { low };
                let here = e.body.in_range(c, from, low + extent);
                inside = Some(and(e, inside, here));
            }
        }
        let Some(inside) = inside else { return e.value(node.operands[0], &inner) };
        let fill = e.value(node.operands[1], &[])?;
        let x = guarded(e, inside, |e| e.value(node.operands[0], &inner))?;
        if on(Mutation::PadOther) {
            return Ok(x);
        }
        Ok(e.body.prim(Prim::Select, &[inside, x, fill]))
    }

    fn reads(&self, _: &Graph, _: &Node, i: usize, _: &[Index]) -> Option<super::Coords> {
        (i == 1).then(super::Coords::new)
    }

    fn cost(&self, node: &Node) -> Cost {
        Cost { exprs: 8 + 8 * node.results[0].rank() as u32, weight: Weight::Cheap }
    }
}

impl Lower for Concat {
    fn rule(&self) -> Rule<'_> {
        Rule::Element(self)
    }
}

/// A choice among guarded parts. Decompose keeps the number of parts small.
impl Element for Concat {
    fn element(&self, e: &mut Emitter<'_>, node: &Node, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let at = &coords[self.axis];
        let mut starts = vec![0i64];
        for &part in &node.operands {
            let extent = e.shape(part)?[self.axis] as i64;
            starts.push(starts[starts.len() - 1] + extent);
        }
        e.note(at);
        let mut chosen: Option<ExprId> = None;
        for (i, &part) in node.operands.iter().enumerate() {
            if starts[i] == starts[i + 1] {
                continue;
            }
            let here = e.body.in_range(at, starts[i], starts[i + 1]);
            let mut inner: super::Coords = coords.into();
            inner[self.axis] = at.clone().plus(-starts[i]);
            let x = guarded(e, here, |e| e.value(part, &inner))?;
            chosen = Some(match chosen {
                Some(before) => e.body.prim(Prim::Select, &[here, x, before]),
                None => x,
            });
        }
        chosen.ok_or_else(|| Diagnostic::bug("a concat without elements was asked for one"))
    }

    fn reads(&self, _: &Graph, _: &Node, _: usize, _: &[Index]) -> Option<super::Coords> {
        None
    }

    fn cost(&self, node: &Node) -> Cost {
        Cost { exprs: 9 * node.operands.len() as u32, weight: Weight::Cheap }
    }
}

/// Builds something that is needed only where `condition` holds.
fn guarded(
    e: &mut Emitter<'_>,
    condition: ExprId,
    build: impl FnOnce(&mut Emitter<'_>) -> Result<ExprId, Diagnostic>,
) -> Result<ExprId, Diagnostic> {
    let outer = e.guard;
    e.guard = Some(and(e, outer, condition));
    let x = build(e);
    e.guard = outer;
    x
}

fn and(e: &mut Emitter<'_>, a: Option<ExprId>, b: ExprId) -> ExprId {
    match a {
        Some(a) => e.body.prim(Prim::And, &[a, b]),
        None => b,
    }
}
