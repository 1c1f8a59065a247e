//! Decompose: Bound -> Decomposed. Afterwards every node is one kernel or part of one, as its lowering rule
//! says. The last pass that may change a rounding.
//!
//! - D1: a reduction is over trailing axes (a row reduction) or over leading axes (a column reduction). Other
//!   axes are split: first the trailing ones, then the rest, transposed to the front. f16 and bf16 stay f32 in
//!   between: a reduction rounds once. argmax and argmin are never split, only transposed.
//! - D2: no reduction over axes of extent 1 only (a reshape; argmax: zeros) or over no elements (its
//!   identity).
//! - D3: no contraction over an empty axis (zeros), and no concat with empty parts, of one part, or of more
//!   parts than a kernel takes arguments.
//! - D4: no pad of a tensor without elements (the fill), no scatter from one (its first operand).
//! - D5: a scatter in f16 or bf16 adds in f32 and rounds once.
//! - D6: a scatter into zeros of at most one source to each place is a choice, see `choice`.
//! - D7: a reduction over all axes of what holds one value for each row is a column reduction, see `rows`.
//! - D8: a sum of paddings with zeros that lie side by side is a concat, see `parts`.
//!
//! ```text
//! %1 = reduce %0 {kind=sum, axes=[0,2]}        %1 = reduce %0 {kind=sum, axes=[2]}
//!                                              %2 = reduce %1 {kind=sum, axes=[0]}
//! ```

mod choice;
mod parts;
mod rows;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::graph::{Graph, GraphBuilder, Node, Stage, ValueId};
use mlc_ir::lower::{count, extents};
use mlc_ir::op::{Concat, Contract, Literal, Op, Pad, ReduceKind, ScalarFn, ScatterAdd};
use mlc_ir::{DType, Dim, Shape, Type};
use smallvec::smallvec;

use crate::pass::{Pass, PassCx};
use rows::Rows;

/// A kernel takes at most this many parts of a concat.
const MAX_PARTS: usize = 8;

type R<T> = Result<T, Diagnostic>;

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decompose;

impl Pass for Decompose {
    fn name(&self) -> &'static str {
        "decompose"
    }

    fn stage_before(&self) -> Stage {
        Stage::Bound
    }

    fn stage_after(&self) -> Option<Stage> {
        Some(Stage::Decomposed)
    }

    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<(), Diagnostics> {
        graph.remove_dead();
        let checked = choice::checked(graph);
        let mut rows = Rows::default();
        graph.rebuild(|new, id, node| {
            let values = match replacement(new, &node, checked.contains(&id), &rows)? {
                Some(value) => smallvec![value],
                None => new.insert_values(node),
            };
            for &v in &values {
                rows.note(new, v)?;
            }
            Ok(values)
        })?;
        graph.remove_dead();
        Ok(())
    }
}

/// The value to use instead of the node's, if it needs one. The node is not in the graph, its operands are.
fn replacement(graph: &mut Graph, node: &Node, checked: bool, rows: &Rows) -> R<Option<ValueId>> {
    let Some(ty) = node.results.first() else { return Ok(None) };
    let mut b = GraphBuilder::new(graph, node.prov).on(ty.device);
    let operands = &node.operands;
    match &node.op {
        Op::Reduce(r) => reduce(&mut b, r.kind, ty, operands[0], &r.axes, rows).map(Some),
        Op::Contract(c) => contract(&mut b, c, ty, operands[0]),
        Op::Concat(c) => concat(&mut b, c, operands),
        Op::Pad(p) => pad(&mut b, p, ty, operands),
        Op::Elementwise(m) if m.f == ScalarFn::Add => parts::joined(&mut b, ty, operands),
        Op::ScatterAdd(s) if checked && size(&b, operands[operands.len() - 1])? != 0 => {
            match choice::choice(&mut b, s, node)? {
                Some(chosen) => Ok(Some(chosen)),
                None => scatter(&mut b, s, operands),
            }
        }
        Op::ScatterAdd(s) => scatter(&mut b, s, operands),
        _ => Ok(None),
    }
}

fn size(b: &GraphBuilder<'_>, v: ValueId) -> R<u64> {
    Ok(count(&extents(b.graph, v)?))
}

/// One value throughout.
fn filled(b: &mut GraphBuilder<'_>, ty: &Type, value: Literal) -> R<ValueId> {
    let v = b.constant(value)?;
    b.broadcast(v, ty.shape.clone(), vec![])
}

/// A reduction with the result type `ty` in normal form.
fn reduce(
    b: &mut GraphBuilder<'_>,
    kind: ReduceKind,
    ty: &Type,
    x: ValueId,
    axes: &[usize],
    rows: &Rows,
) -> R<ValueId> {
    let shape = extents(b.graph, x)?;
    let arg = matches!(kind, ReduceKind::ArgMax | ReduceKind::ArgMin);
    if axes.iter().any(|&a| shape[a] == 0) {
        return identity(b, kind, ty);
    }
    let (unit, real): (Vec<usize>, Vec<usize>) = axes.iter().partition(|&&a| shape[a] == 1);
    if !unit.is_empty() {
        return without_units(b, kind, ty, x, &unit, &real, rows);
    }
    if let Some(sum) = rows.sum(b, kind, x, axes)? {
        return Ok(sum);
    }
    let rank = shape.len();
    let trailing = (0..rank).rev().take_while(|a| axes.contains(a)).count();
    if trailing == axes.len() {
        return b.reduce(kind, x, axes.to_vec());
    }
    if arg {
        let perm = (0..rank).filter(|a| !axes.contains(a)).chain(axes.iter().copied()).collect();
        let t = b.transpose(x, perm)?;
        return b.reduce(kind, t, (rank - axes.len()..rank).collect());
    }
    if trailing == 0 {
        return leading(b, kind, x, axes);
    }
    let dtype = b.ty(x).dtype;
    let wide = if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
    let y = b.cast(x, wide)?;
    let y = b.reduce(kind, y, (rank - trailing..rank).collect())?;
    let rest: Vec<usize> = axes.iter().copied().filter(|&a| a < rank - trailing).collect();
    let y = leading(b, kind, y, &rest)?;
    b.cast(y, dtype)
}

/// A reduction over axes that are brought to the front.
fn leading(b: &mut GraphBuilder<'_>, kind: ReduceKind, x: ValueId, axes: &[usize]) -> R<ValueId> {
    let rest = (0..b.ty(x).rank()).filter(|a| !axes.contains(a));
    let perm = axes.iter().copied().chain(rest).collect();
    let t = b.transpose(x, perm)?;
    b.reduce(kind, t, (0..axes.len()).collect())
}

/// What a reduction over nothing gives.
fn identity(b: &mut GraphBuilder<'_>, kind: ReduceKind, ty: &Type) -> R<ValueId> {
    let value = match kind {
        ReduceKind::Sum => Literal::int(ty.dtype, 0),
        ReduceKind::Prod => Literal::int(ty.dtype, 1),
        ReduceKind::And => Literal::bool(true),
        ReduceKind::Or => Literal::bool(false),
        // The type rule forbids these over an axis without elements; a result without elements is fine.
        _ if ty.count().is_const(0) => Literal::int(ty.dtype, 0),
        _ => return Err(Diagnostic::bug(format!("{} over an empty axis", kind.name()))),
    };
    filled(b, ty, value)
}

/// Reducing an axis of extent 1 drops it.
fn without_units(
    b: &mut GraphBuilder<'_>,
    kind: ReduceKind,
    ty: &Type,
    x: ValueId,
    unit: &[usize],
    real: &[usize],
    rows: &Rows,
) -> R<ValueId> {
    let arg = matches!(kind, ReduceKind::ArgMax | ReduceKind::ArgMin);
    if arg && real.is_empty() {
        return filled(b, ty, Literal::int(DType::I64, 0));
    }
    let kept = b.shape(x).into_iter().enumerate().filter(|(a, _)| !unit.contains(a));
    let shape: Shape = kept.map(|(_, d)| d).collect();
    let x = b.reshape(x, shape)?;
    if real.is_empty() {
        return Ok(x);
    }
    let axes: Vec<usize> = real.iter().map(|a| a - unit.iter().filter(|u| *u < a).count()).collect();
    reduce(b, kind, ty, x, &axes, rows)
}

fn contract(b: &mut GraphBuilder<'_>, c: &Contract, ty: &Type, lhs: ValueId) -> R<Option<ValueId>> {
    let shape = extents(b.graph, lhs)?;
    if c.sum.iter().all(|p| shape[p.0] != 0) {
        return Ok(None);
    }
    filled(b, ty, Literal::int(ty.dtype, 0)).map(Some)
}

fn concat(b: &mut GraphBuilder<'_>, c: &Concat, operands: &[ValueId]) -> R<Option<ValueId>> {
    let mut parts = vec![];
    for &part in operands {
        if extents(b.graph, part)?[c.axis] != 0 {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        return Ok(operands.first().copied());
    }
    if parts.len() == operands.len() && (2..=MAX_PARTS).contains(&parts.len()) {
        return Ok(None);
    }
    while parts.len() > MAX_PARTS {
        let mut joined = vec![];
        for group in parts.chunks(MAX_PARTS) {
            joined.push(b.concat(group, c.axis)?);
        }
        parts = joined;
    }
    b.concat(&parts, c.axis).map(Some)
}

fn pad(b: &mut GraphBuilder<'_>, p: &Pad, ty: &Type, operands: &[ValueId]) -> R<Option<ValueId>> {
    if p.low.iter().chain(&p.high).all(|d| *d == Dim::ZERO) {
        return Ok(Some(operands[0]));
    }
    if size(b, operands[0])? != 0 || ty.count().is_const(0) {
        return Ok(None);
    }
    b.broadcast(operands[1], ty.shape.clone(), vec![]).map(Some)
}

fn scatter(b: &mut GraphBuilder<'_>, s: &ScatterAdd, operands: &[ValueId]) -> R<Option<ValueId>> {
    let (x, src) = (operands[0], operands[operands.len() - 1]);
    if size(b, src)? == 0 {
        return Ok(Some(x));
    }
    let dtype = b.ty(x).dtype;
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return Ok(None);
    }
    let (wide, wide_src) = (b.cast(x, DType::F32)?, b.cast(src, DType::F32)?);
    let indices = &operands[1..operands.len() - 1];
    let y = b.scatter_add(wide, s.axes.clone(), indices, wide_src, s.wrap)?;
    b.cast(y, dtype).map(Some)
}
