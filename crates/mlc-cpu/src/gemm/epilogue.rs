//! Where products go: straight to an argument, or through an epilogue that runs on each tile when its last chunk of
//! k is over, while the products are in the cache.

use std::ops::Range;

use mlc_ir::DType;
use mlc_ir::loops::{
    Arg, ArgId, Axis, AxisId, Contraction, Expr, ExprId, ExprOp, Index, Kernel, Lit, Load, LoopBody, Mode,
    Prim, Space,
};

use super::operand::{View, bounds_arg, sites, view};
use crate::jit::{Source, Unit};
use crate::schedule::Part;
use crate::shape::renumber_axes;

/// Where products go as they are, if that is all the epilogue does.
pub fn direct(kernel: &Kernel, c: &Contraction) -> Option<(ArgId, View)> {
    let body: &LoopBody = &c.epilogue;
    let [store] = &body.stores[..] else { return None };
    let is_product = |e: ExprId| body.expr(e).op == ExprOp::Product;
    if !is_product(store.value) || store.guard.is_some() || kernel.arg(store.arg).dtype != c.acc {
        return None;
    }
    // Written once an element, so that rows and columns have strides of their own.
    if kernel.arg(store.arg).mode != Mode::Write {
        return None;
    }
    let axes: Vec<Axis> = body.axes().copied().collect();
    let (m, n) = (c.first_m().ix(), c.first_n().ix());
    Some((store.arg, view(&store.index, &axes, m, m..n, n..axes.len())?))
}

/// Whether the epilogue had best go along m: more of what it reads and writes lies contiguous so.
pub fn along_m(c: &Contraction) -> bool {
    let axes: Vec<Axis> = c.epilogue.axes().copied().collect();
    let (m, n) = (c.first_m().ix(), c.first_n().ix());
    let contiguous = |range: Range<usize>| {
        let Some(axis) = range.rev().find(|&a| axes[a].extent != 1) else { return 0 };
        let unit = |index: &Index| index.coef(AxisId(axis as u32)) == 1;
        let loads = c.epilogue.exprs.iter().filter(|e| matches!(&e.op, ExprOp::Load(l) if unit(&l.index)));
        loads.count() + c.epilogue.stores.iter().filter(|s| unit(&s.index)).count()
    };
    contiguous(m..n) > contiguous(n..axes.len())
}

/// The unit that runs the epilogue over a box of batch, m and n, or batch, n and m (`along_m`). Its last two arguments
/// are the products, of the position 0, in rows of `width` along n, or along m, and the box.
pub fn unit(kernel: &Kernel, c: &Contraction, along_m: bool, width: usize) -> Unit {
    let mut body = c.epilogue.clone();
    let (first_m, first_n) = (c.first_m().ix(), c.first_n().ix());
    let analysis = c.epilogue_analysis();
    let places: Vec<Space> = body.stores.iter().map(|s| analysis.index_space(&body, &s.index)).collect();
    body.cols = body.axes().copied().collect();
    body.rows = Vec::new();
    let extents: Vec<u64> = body.cols.iter().map(|a| a.extent).collect();
    let linear = |range: Range<usize>, outer: bool| {
        let index = Index::row_major(AxisId(range.start as u32), &extents[range]);
        if outer { index.scale(width as i64) } else { index }
    };
    let index = linear(first_m..first_n, !along_m).plus_index(&linear(first_n..extents.len(), along_m));
    let arg = ArgId(kernel.args.len() as u32);
    for e in &mut body.exprs {
        if e.op == ExprOp::Product {
            let (index, other) = (index.clone(), Lit::zero(c.acc));
            e.op = ExprOp::Load(Load { arg, index, guard: None, other });
        }
    }
    once_a_row(&mut body, &places, first_n);
    if along_m {
        m_innermost(&mut body, first_m, first_n);
    }
    let mut args = kernel.args.clone();
    args.push(Arg::new("product", c.acc, 0, Mode::Read));
    args.push(bounds_arg(extents.len() as u64));
    Unit {
        name: format!("{}.epilogue", kernel.name),
        source: Source::Body(body),
        part: Part::Box,
        args,
        site: sites(&c.lhs) + sites(&c.rhs),
        faults: !kernel.fault_sites().is_empty(),
    }
}

/// Puts the axes of n before those of m.
fn m_innermost(body: &mut LoopBody, first_m: usize, first_n: usize) {
    let axes = std::mem::take(&mut body.cols);
    let order: Vec<usize> = (0..first_m).chain(first_n..axes.len()).chain(first_m..first_n).collect();
    let mut map = vec![None; axes.len()];
    for (to, &from) in order.iter().enumerate() {
        map[from] = Some(AxisId(to as u32));
    }
    renumber_axes(body, &map);
    body.cols = order.iter().map(|&a| axes[a]).collect();
}

/// Stores whose place depends on no column happen once a row (L3): in the first column.
fn once_a_row(body: &mut LoopBody, places: &[Space], first_n: usize) {
    let cols: Vec<usize> = (first_n..body.cols.len()).filter(|&a| body.cols[a].extent != 1).collect();
    for (i, &place) in places.iter().enumerate() {
        if cols.is_empty() || matches!(place, Space::Elem | Space::ColOnly) {
            continue;
        }
        let prov = body.stores[i].prov;
        let mut push = |op: ExprOp, dtype: DType| {
            body.exprs.push(Expr { op, dtype, prov });
            ExprId(body.exprs.len() as u32 - 1)
        };
        let mut guard = body.stores[i].guard;
        for &a in &cols {
            let at = push(ExprOp::AxisValue(AxisId(a as u32)), DType::I64);
            let zero = push(ExprOp::Const(Lit::i64(0)), DType::I64);
            let first = push(ExprOp::Prim(Prim::Eq, [at, zero].into_iter().collect()), DType::Bool);
            guard = Some(match guard {
                Some(g) => push(ExprOp::Prim(Prim::And, [g, first].into_iter().collect()), DType::Bool),
                None => first,
            });
        }
        body.stores[i].guard = guard;
    }
}
