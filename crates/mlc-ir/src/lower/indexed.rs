//! Reading and adding at computed indices.

use mlc_diag::Diagnostic;

use super::coords::row_major;
use super::{Coords, Cost, Domain, Draft, Element, Emitter, Homes, Lower, Need, OwnKernel, Rule, Weight};
use crate::graph::{Graph, Node, ValueId};
use crate::loops::{Atom, Bound, ExprId, Index, Init, Kind, Mode, RedOp, Scatter};
use crate::op::{Gather, Op, ScatterAdd};

impl Lower for Gather {
    fn rule(&self) -> Rule<'_> {
        Rule::Element(self)
    }
}

/// A load with a data-dependent index.
impl Element for Gather {
    fn element(&self, e: &mut Emitter<'_>, node: &Node, coords: &[Index]) -> Result<ExprId, Diagnostic> {
        let at = indexed(e, node, &self.axes, self.wrap, coords)?;
        e.memory(node.operands[0], &at)
    }

    fn cost(&self, node: &Node) -> Cost {
        Cost { exprs: 2 * node.operands.len() as u32, weight: Weight::Cheap }
    }

    fn need(&self, i: usize) -> Need {
        if i == 0 { Need::Strided } else { Need::Inline }
    }
}

impl Lower for ScatterAdd {
    fn rule(&self) -> Rule<'_> {
        Rule::Kernel(self)
    }
}

/// Over the source's elements; the destination starts as a copy of the first operand.
impl OwnKernel for ScatterAdd {
    fn kernel(&self, cx: &Homes<'_>, v: ValueId) -> Result<Draft, Diagnostic> {
        let node = cx.graph.node(v.node);
        let (x, src) = (node.operands[0], node.operands[node.operands.len() - 1]);
        let source = cx.shape(src)?;
        super::domain::refined(&source, |domain: &Domain| {
            let mut e = Emitter::new(cx, &[], &domain.all_extents());
            let prov = {
                e.at(v.node);
                e.body.prov
            };
            let coords = domain.coords();
            let value = e.value(src, &coords)?;
            let at = indexed(&mut e, node, &self.axes, self.wrap, &coords)?;
            let index = row_major(&at, &cx.shape(x)?);
            let zero = is_zero(cx.graph, x);
            let dest = e.write_arg(v, if zero { Mode::Write } else { Mode::ReadWrite })?;
            let body = e.take_body();
            let kind = Kind::ScatterAdd(Scatter {
                body,
                value,
                index,
                guard: None,
                dest,
                init: if zero { Init::Zero } else { Init::Existing },
                op: RedOp::Sum,
                prov,
            });
            let (mut draft, quotients) = e.finish(v, "scatter_add", kind);
            draft.starts_as = (!zero).then_some(x);
            Ok((draft, quotients))
        })
    }

    fn need(&self, graph: &Graph, node: &Node, i: usize) -> Need {
        match i {
            0 if is_zero(graph, node.operands[0]) => Need::Unused,
            0 => Need::Dense,
            _ => Need::Inline,
        }
    }
}

/// Is the value +0 everywhere, for certain?
fn is_zero(graph: &Graph, v: ValueId) -> bool {
    match &graph.node(super::base(graph, v).node).op {
        Op::Constant(c) => super::uniform(&c.value).is_some_and(|lit| lit.bits == 0),
        _ => false,
    }
}

/// The coordinates in the first operand of the element at `coords` of the gather's result (the scatter's
/// source): the index tensors' axes stand where the first indexed axis was.
fn indexed(
    e: &mut Emitter<'_>,
    node: &Node,
    axes: &[usize],
    wrap: bool,
    coords: &[Index],
) -> Result<Coords, Diagnostic> {
    let x = e.shape(node.operands[0])?;
    let first = axes[0];
    let index_rank = e.shape(node.operands[1])?.len();
    let at = &coords[first..first + index_rank];
    let mut rest = coords[first + index_rank..].iter();
    let mut out: Coords = coords[..first].into();
    for (axis, &extent) in x.iter().enumerate().skip(first) {
        let Some(k) = axes.iter().position(|&a| a == axis) else {
            out.push(rest.next().cloned().unwrap_or_default());
            continue;
        };
        if extent == 0 {
            let title = format!("axis {axis} has no elements to index");
            return Err(Diagnostic::error("E0205", title).label(node.prov.span, ""));
        }
        let data: ExprId = e.value(node.operands[1 + k], at)?;
        out.push(Index::term(1, Atom::Data(data, Bound { extent, wrap })));
    }
    Ok(out)
}
