//! Operands: strided memory where the index allows, else code that evaluates a box of elements.

use std::ops::Range;

use mlc_ir::loops::body::index_data;
use mlc_ir::loops::{
    Arg, ArgId, Axis, AxisId, Contraction, Expr, ExprOp, Index, Kernel, Mode, Operand, Store,
};

use super::blocking::Access;
use super::tile::{CHUNK, PieceAxes, PieceAxis};
use crate::jit::{Source, Unit};
use crate::schedule::Part;
use crate::shape::renumber_axes;

/// A strided view of batch x rows x columns, in elements.
#[derive(Debug, Clone)]
pub struct View {
    pub offset: i64,
    pub batch: Vec<i64>,
    pub row: i64,
    pub col: i64,
}

/// A view of batch x rows x columns of which rows and columns have several strides.
#[derive(Debug, Clone)]
pub struct PieceView {
    pub offset: i64,
    pub batch: Vec<i64>,
    pub axes: PieceAxes,
}

/// Shorter runs of contiguous elements than this had better be left to generated code.
const MIN_RUN: usize = 8;

/// Which operand: its own axes and its place among the contraction's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Lhs,
    Rhs,
}

impl Which {
    pub fn of(self, c: &Contraction) -> &Operand {
        match self {
            Which::Lhs => &c.lhs,
            Which::Rhs => &c.rhs,
        }
    }

    /// The operand's m or n axes in the contraction's numbering.
    pub fn own(self, c: &Contraction) -> Range<usize> {
        match self {
            Which::Lhs => c.first_m().ix()..c.first_n().ix(),
            Which::Rhs => c.first_n().ix()..c.first_k().ix(),
        }
    }
}

/// The operand as a matrix in an argument, if it is one as it stands.
pub fn plain(kernel: &Kernel, c: &Contraction, which: Which) -> Option<(ArgId, View)> {
    let load = which.of(c).as_load()?;
    if load.guard.is_some() || kernel.arg(load.arg).dtype != c.acc {
        return None;
    }
    let k = c.first_k().ix();
    let axes: Vec<Axis> = c.axes().copied().collect();
    Some((load.arg, view(&load.index, &axes, c.batch.len(), which.own(c), k..axes.len())?))
}

/// The operand as runs of contiguous elements of an argument, if that is what it is.
pub fn pieces(kernel: &Kernel, c: &Contraction, which: Which) -> Option<(ArgId, PieceView)> {
    let load = which.of(c).as_load()?;
    if load.guard.is_some() || kernel.arg(load.arg).dtype != c.acc || !load.index.is_affine() {
        return None;
    }
    let axes: Vec<Axis> = c.axes().copied().collect();
    let coef = |a: usize| load.index.coef(AxisId(a as u32));
    let merged = |range: Range<usize>| {
        let mut merged: Vec<PieceAxis> = Vec::new();
        for a in range.filter(|&a| axes[a].extent != 1) {
            let (extent, stride) = (axes[a].extent as usize, coef(a) as isize);
            match merged.last_mut() {
                Some(outer) if outer.stride == stride.wrapping_mul(extent as isize) => {
                    *outer = PieceAxis { extent: outer.extent * extent, stride };
                }
                _ => merged.push(PieceAxis { extent, stride }),
            }
        }
        if merged.is_empty() {
            merged.push(PieceAxis { extent: 1, stride: 0 });
        }
        merged
    };
    let k = c.first_k().ix();
    let pieces = PieceAxes { rows: merged(which.own(c)), cols: merged(k..axes.len()) };
    let long = |a: Option<&PieceAxis>| a.is_some_and(|a| a.stride == 1 && a.extent >= MIN_RUN);
    (long(pieces.rows.last()) || long(pieces.cols.last())).then(|| {
        let batch = (0..c.batch.len()).map(coef).collect();
        (load.arg, PieceView { offset: load.index.offset, batch, axes: pieces })
    })
}

/// The index as a strided view, if its rows and its columns each have one stride.
pub fn view(
    index: &Index,
    axes: &[Axis],
    batch: usize,
    rows: Range<usize>,
    cols: Range<usize>,
) -> Option<View> {
    if !index.is_affine() {
        return None;
    }
    let coef = |a: usize| index.coef(AxisId(a as u32));
    let one_stride = |range: Range<usize>| {
        let mut stride: Option<i64> = None;
        let mut expect = 0i64;
        for a in range.rev().filter(|&a| axes[a].extent != 1) {
            let own = coef(a);
            if stride.is_some() && own != expect {
                return None;
            }
            stride = stride.or(Some(own));
            expect = own.checked_mul(axes[a].extent as i64)?;
        }
        Some(stride.unwrap_or(0))
    };
    Some(View {
        offset: index.offset,
        batch: (0..batch).map(coef).collect(),
        row: one_stride(rows)?,
        col: one_stride(cols)?,
    })
}

/// How code for an operand had best run: with the axis innermost along which most of its loads are contiguous.
pub fn access_of_code(c: &Contraction, which: Which) -> Access {
    let innermost = |range: Range<usize>| {
        let axes: Vec<Axis> = c.axes().copied().collect();
        range.rev().find(|&a| axes[a].extent != 1)
    };
    let contiguous = |axis: Option<usize>| {
        let unit = |e: &&Expr| match (&e.op, axis) {
            (ExprOp::Load(l), Some(a)) => l.index.coef(AxisId(a as u32)) == 1,
            _ => false,
        };
        which.of(c).exprs.iter().filter(unit).count()
    };
    let k = innermost(c.first_k().ix()..c.axes().count());
    Access::Code { along_k: contiguous(k) >= contiguous(innermost(which.own(c))) }
}

/// Fault sites of an operand.
pub fn sites(o: &Operand) -> u64 {
    let data = |e: &Expr| match &e.op {
        ExprOp::Load(l) => index_data(&l.index).len() as u64,
        _ => 0,
    };
    o.exprs.iter().map(data).sum()
}

/// The unit that evaluates a box of an operand: over batch, own axes, k (`along_k`: rows a chunk apart) or batch, k,
/// own axes (columns `width` apart). Its last two arguments are the destination, of the position 0, and the box.
pub fn unit(kernel: &Kernel, c: &Contraction, which: Which, along_k: bool, width: usize) -> Unit {
    let operand = which.of(c);
    let mut body = c.operand_body(operand);
    let axes: Vec<Axis> = c.axes().copied().collect();
    let (batch, own, k) = (0..c.batch.len(), which.own(c), c.first_k().ix()..axes.len());
    let (outer, inner) = if along_k { (own.clone(), k.clone()) } else { (k.clone(), own.clone()) };
    let order: Vec<usize> = batch.chain(outer).chain(inner).collect();
    let mut map = vec![None; axes.len()];
    for (to, &from) in order.iter().enumerate() {
        map[from] = Some(AxisId(to as u32));
    }
    renumber_axes(&mut body, &map);
    body.cols = order.iter().map(|&a| axes[a]).collect();
    let linear = |range: Range<usize>, stride: usize| {
        let extents: Vec<u64> = axes[range.clone()].iter().map(|a| a.extent).collect();
        // A contraction of single elements has no axes at all.
        let first = map.get(range.start).copied().flatten().filter(|_| !range.is_empty());
        first.map_or(Index::default(), |a| Index::row_major(a, &extents).scale(stride as i64))
    };
    let (row, col) = if along_k { (CHUNK, 1) } else { (1, width) };
    let index = linear(own, row).plus_index(&linear(k, col));
    let site = if which == Which::Rhs { sites(&c.lhs) } else { 0 };
    let arg = ArgId(kernel.args.len() as u32);
    body.stores = vec![Store { arg, index, value: operand.value, guard: None, prov: 0 }];
    let count = body.cols.len() as u64;
    let mut args = kernel.args.clone();
    args.push(Arg::new("packed", c.acc, 0, Mode::Write));
    args.push(bounds_arg(count));
    let name = format!("{}.{}", kernel.name, if which == Which::Lhs { "lhs" } else { "rhs" });
    Unit {
        name,
        source: Source::Body(body),
        part: Part::Box,
        args,
        site,
        faults: !kernel.fault_sites().is_empty(),
    }
}

/// The argument that a box is in.
pub fn bounds_arg(axes: u64) -> Arg {
    Arg::new("box", mlc_ir::DType::I64, 2 * axes, Mode::Read)
}
