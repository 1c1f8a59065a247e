//! One kernel from a group of nodes.
//!
//! Input: a [`Recipe`]: the form of the kernel's domain, the nodes that it computes, and what it leaves in
//! memory, each with its place in the domain. Output: a [`Draft`]. Which nodes share a kernel, and that their
//! places agree, was decided before; here every result is pulled from its operands until memory is reached,
//! so that what several results need is built once.
//!
//! ```text
//! rows [64], cols [1000]; inside max, sub, exp, sum, div; out div: Element
//!   acc0 = max lanes load x[..]      %2 = exp(load x[..] - acc0)      acc1 = sum lanes %2
//!   store out[1000*i0 + c0] = %2 / acc1
//! ```

use mlc_diag::Diagnostic;

use super::coords::{Coords, reshape, row_major};
use super::reduce::{accumulator, red_op};
use super::{Cx, Domain, Draft, Emitter, Rule, contract, refined};
use crate::graph::{NodeId, ValueId};
use crate::loops::{ArgId, ExprId, Index, Kernel, Kind, LoopBody, Mode, Segment, Tail};
use crate::op::Op;

/// What one kernel computes and leaves in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// For people.
    pub name: String,
    pub form: Form,
    /// In topological order.
    pub outs: Vec<Out>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// A map (no rows), or rows that are reduced over columns, or columns that are reduced over rows.
    Loop { rows: Vec<u64>, cols: Vec<u64> },
    /// The epilogue of this contraction.
    Contract(ValueId),
    /// An op that is a kernel of its own.
    Own(ValueId),
}

/// A value that a kernel leaves in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Out {
    pub value: ValueId,
    pub place: Place,
}

/// Where in the domain an element of a result is computed.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// At the point with the element's own row-major number.
    Element,
    /// Once a row: in the row with the element's number.
    Row,
    /// A reduction over rows, a result for each column.
    Column,
    /// A reduction over rows of one value a row.
    Scalar,
    /// In an epilogue: step by step from the contraction, each node with the operand that leads back,
    /// perhaps through views that move elements about.
    Steps(Vec<(NodeId, usize)>),
}

/// Rows and columns of a domain.
#[derive(Debug, Clone)]
pub struct Frame {
    shape: Vec<u64>,
    /// On each logical axis.
    at: Coords,
    rows: usize,
    /// The row-major number of the point, of its row, of its column.
    point: Index,
    pub row: Index,
    column: Index,
}

impl Frame {
    fn new(domain: &Domain, shape: &[u64], rows: usize) -> Frame {
        let at = domain.coords();
        Frame {
            point: row_major(&at, shape),
            row: row_major(&at[..rows], &shape[..rows]),
            column: row_major(&at[rows..], &shape[rows..]),
            shape: shape.to_vec(),
            at,
            rows,
        }
    }

    /// The coordinates in a value with as many elements as the domain.
    pub fn element(&self, shape: &[u64], extents: &[u64]) -> Coords {
        reshape(&self.at, &self.shape, shape, extents)
    }

    /// The coordinates in a value with as many elements as there are rows.
    pub fn in_row(&self, shape: &[u64], extents: &[u64]) -> Coords {
        reshape(&self.at[..self.rows], &self.shape[..self.rows], shape, extents)
    }
}

/// Builds the kernel.
///
/// # Errors
/// Those of the ops; bugs where the recipe does not fit the graph.
pub fn build(cx: Cx<'_>, recipe: &Recipe) -> Result<Draft, Diagnostic> {
    match &recipe.form {
        Form::Loop { rows, cols } => loop_kernel(cx, recipe, rows, cols),
        Form::Contract(v) => {
            let mut draft = contract::contraction(cx, *v, |e, own, shape| epilogue(e, recipe, own, shape))?;
            draft.kernel.name = recipe.name.as_str().into();
            Ok(draft)
        }
        Form::Own(v) => match cx.graph.node(v.node).op.lowering().rule() {
            Rule::Kernel(k) => k.kernel(cx, *v),
            _ => Err(Diagnostic::bug(format!("{v} is no kernel of its own"))),
        },
    }
}

/// Joins loop kernels that have nothing to do with each other into one.
pub fn segments(drafts: Vec<Draft>) -> Draft {
    let mut out = Draft {
        kernel: Kernel { name: "segments".into(), args: vec![], kind: Kind::Segments(vec![]), prov: vec![] },
        reads: vec![],
        writes: vec![],
        starts_as: None,
    };
    let reads: usize = drafts.iter().map(|d| d.reads.len()).sum();
    let (mut list, mut written) = (vec![], vec![]);
    for draft in drafts {
        let Kind::Loop(mut body) = draft.kernel.kind else { continue };
        shift_prov(&mut body, out.kernel.prov.len() as u32);
        out.kernel.prov.extend(draft.kernel.prov);
        let (first_read, first_write) = (out.reads.len(), reads + out.writes.len());
        let own = draft.reads.len();
        let place = |i: usize| ArgId(if i < own { first_read + i } else { first_write + i - own } as u32);
        list.push(Segment { args: (0..draft.kernel.args.len()).map(place).collect(), body });
        out.reads.extend(draft.reads);
        out.writes.extend(draft.writes);
        let mut args = draft.kernel.args;
        written.extend(args.split_off(own));
        out.kernel.args.extend(args);
    }
    out.kernel.args.extend(written);
    for (i, arg) in out.kernel.args.iter_mut().enumerate() {
        let name = if i < reads { format!("a{i}") } else { format!("out{}", i - reads) };
        arg.name = name.into();
    }
    out.kernel.kind = Kind::Segments(list);
    out
}

/// Makes room for provenance that comes before.
fn shift_prov(body: &mut LoopBody, by: u32) {
    body.exprs.iter_mut().for_each(|e| e.prov += by);
    body.reds.iter_mut().for_each(|r| r.prov += by);
    body.stores.iter_mut().for_each(|s| s.prov += by);
    for t in &mut body.tails {
        match t {
            Tail::Col { prov, .. } | Tail::RowScalar { prov, .. } => *prov += by,
        }
    }
}

fn loop_kernel(cx: Cx<'_>, recipe: &Recipe, rows: &[u64], cols: &[u64]) -> Result<Draft, Diagnostic> {
    let shape = [rows, cols].concat();
    refined(&shape, |domain| {
        let extents = |range| domain.extents(range);
        let mut e = Emitter::new(cx, &extents(0..rows.len()), &extents(rows.len()..shape.len()));
        let frame = Frame::new(domain, &shape, rows.len());
        e.frame = Some(frame.clone());
        if shape.iter().all(|&d| d == 1) {
            one_by_one(&mut e, &frame)?;
        }
        let mut values = Vec::with_capacity(recipe.outs.len());
        for out in &recipe.outs {
            e.at(out.value.node);
            values.push(loop_value(&mut e, &frame, out)?);
        }
        for (out, value) in recipe.outs.iter().zip(values) {
            e.at(out.value.node);
            let arg = e.write_arg(out.value, Mode::Write)?;
            match (&out.place, cx.graph.node(out.value.node).op.lowering().rule()) {
                (Place::Element, _) => e.body.store(arg, frame.point.clone(), value),
                (Place::Row, _) => e.body.store(arg, frame.row.clone(), value),
                (Place::Column, Rule::Reduce(r)) => {
                    e.body.tail_col(red_op(r.kind), value, arg, frame.column.clone());
                }
                (Place::Scalar, Rule::Reduce(r)) => e.body.tail_scalar(red_op(r.kind), value, arg, 0),
                _ => return Err(e.bug(out.value, "has no place in a loop kernel")),
            }
        }
        let body = e.take_body();
        Ok(e.finish(&recipe.name, Kind::Loop(body)))
    })
}

/// Computes the single numbers of a kernel in order, so that none is asked for through a long chain of others: the
/// sum of the norms of a thousand gradients is one.
fn one_by_one(e: &mut Emitter<'_>, frame: &Frame) -> Result<(), Diagnostic> {
    let extents = e.extents().to_vec();
    let map = |n: &NodeId| matches!(e.cx.graph.node(*n).op, Op::Elementwise(_) | Op::Cast(_));
    let mut nodes: Vec<NodeId> = e.cx.inside().filter(map).collect();
    nodes.sort_unstable();
    for n in nodes {
        let shape = e.shape(n.value())?;
        if shape.iter().all(|&d| d == 1) {
            e.value(n.value(), &frame.element(&shape, &extents))?;
        }
    }
    Ok(())
}

/// What is stored, or what a tail reduces.
fn loop_value(e: &mut Emitter<'_>, frame: &Frame, out: &Out) -> Result<ExprId, Diagnostic> {
    let extents = e.extents().to_vec();
    let operand = e.cx.graph.node(out.value.node).operands.first().copied();
    match (&out.place, operand) {
        (Place::Element, _) => {
            let at = frame.element(&e.shape(out.value)?, &extents);
            e.value(out.value, &at)
        }
        (Place::Row, _) => {
            let at = frame.in_row(&e.shape(out.value)?, &extents);
            e.value(out.value, &at)
        }
        (Place::Column | Place::Scalar, Some(x)) => {
            let shape = e.shape(x)?;
            let at = match out.place {
                Place::Column => frame.element(&shape, &extents),
                _ => frame.in_row(&shape, &extents),
            };
            let value = e.value(x, &at)?;
            let acc = accumulator(e.body.dtype(value));
            Ok(e.cast(acc, value))
        }
        _ => Err(e.bug(out.value, "has no place in a loop kernel")),
    }
}

/// Stores of a contraction's results, given the contraction's own coordinates.
fn epilogue(e: &mut Emitter<'_>, recipe: &Recipe, own: &Coords, _: &[u64]) -> Result<(), Diagnostic> {
    let mut built = vec![];
    for out in &recipe.outs {
        e.at(out.value.node);
        let at = match &out.place {
            Place::Element => own.clone(),
            Place::Steps(steps) => follow(e, steps, own)?,
            _ => return Err(e.bug(out.value, "has no place in an epilogue")),
        };
        let index = row_major(&at, &e.shape(out.value)?);
        e.note(&index);
        built.push((out.value, index, e.value(out.value, &at)?));
    }
    for (v, index, value) in built {
        e.at(v.node);
        let arg = e.write_arg(v, Mode::Write)?;
        e.body.store(arg, index, value);
    }
    Ok(())
}

/// The coordinates of the last step's node, from those of the contraction.
fn follow(e: &mut Emitter<'_>, steps: &[(NodeId, usize)], own: &Coords) -> Result<Coords, Diagnostic> {
    let graph = e.cx.graph;
    let mut at = own.clone();
    let mut last = e.product.as_ref().map(|p| p.0.node);
    for &(node, operand) in steps {
        // A stored view is a step itself.
        let top = match graph.node(node).op.lowering().rule() {
            Rule::View(_) => node.value(),
            _ => graph.node(node).operands[operand],
        };
        let mut views = vec![];
        let mut v = top;
        while Some(v.node) != last
            && let Rule::View(view) = graph.node(v.node).op.lowering().rule()
        {
            let below = graph.node(v.node).operands[0];
            views.push((view, e.shape(below)?, e.shape(v)?));
            v = below;
        }
        last = Some(node);
        for (view, from, to) in views.into_iter().rev() {
            at = view
                .inverse(&from, &to, &at, e.extents())
                .ok_or_else(|| e.bug(top, "does not have each element of the contraction once"))?;
        }
    }
    Ok(at)
}
