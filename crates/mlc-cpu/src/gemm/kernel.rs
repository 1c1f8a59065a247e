//! A contraction as a kernel: operands, product, epilogue.

use std::ops::Range;

use mlc_ir::DType;
use mlc_ir::loops::body::index_data;
use mlc_ir::loops::{
    Arg, ArgId, Axis, AxisId, Contraction, ExprId, ExprOp, Index, Kernel, Lit, Load, LoopBody, Mode, Operand,
    Store,
};
use mlc_runtime::exec::{HostKernel, Phase, ScratchNeed, Workspace};

use super::{Gemm, Matrix, MatrixMut, Product, choose};
use crate::features::CpuFeatures;
use crate::jit::{Source, Unit};
use crate::kernel::{ArgTable, call};
use crate::schedule::Part;
use crate::shape::simplify;
use crate::store::Function;

/// A contraction taken apart: strides, and the functions to compile.
#[derive(Debug)]
pub struct Parts {
    acc: DType,
    batch: Vec<u64>,
    /// m, n, k.
    extents: [u64; 3],
    lhs: Side,
    rhs: Side,
    out: Out,
    gemm: GemmChoice,
    args: usize,
    faults: bool,
    /// Left packing, right packing, epilogue: those that there are, in this order.
    pub units: Vec<Unit>,
}

struct GemmChoice(&'static dyn Gemm);

impl std::fmt::Debug for GemmChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

/// Where an operand's elements are.
#[derive(Debug)]
enum Side {
    /// In an argument.
    Plain { arg: ArgId, view: View },
    /// Evaluated into working memory first, row-major over batch, own axes, k.
    Packed { elements: u64 },
}

/// A strided view of batch x rows x columns, in elements.
#[derive(Debug)]
struct View {
    offset: i64,
    batch: Vec<i64>,
    row: i64,
    col: i64,
}

#[derive(Debug)]
enum Out {
    /// The epilogue only stores: products go straight to an argument.
    Direct { arg: ArgId, view: View },
    /// Products go to working memory, row-major; the epilogue reads them there.
    Epilogue,
}

/// Takes a contraction apart.
pub fn parts(kernel: &Kernel, c: &Contraction, strict: bool) -> Parts {
    let counts = [&c.batch, &c.m, &c.n, &c.k].map(|axes| axes.iter().map(|a| a.extent).collect::<Vec<u64>>());
    let [b, m, n, k] = [0, 1, 2, 3].map(|i| counts[i].iter().product::<u64>());
    let faults = !kernel.fault_sites().is_empty();
    let mut p = Parts {
        acc: c.acc,
        batch: counts[0].clone(),
        extents: [m, n, k],
        lhs: Side::Packed { elements: b * m * k },
        rhs: Side::Packed { elements: b * n * k },
        out: Out::Epilogue,
        gemm: GemmChoice(if k == 0 { &super::Canonical } else { choose(c.acc, &c.rounding, strict) }),
        args: kernel.args.len(),
        faults,
        units: Vec::new(),
    };
    let sites = |o: &Operand| {
        let data = |e: &mlc_ir::loops::Expr| match &e.op {
            ExprOp::Load(l) => index_data(&l.index).len() as u64,
            _ => 0,
        };
        o.exprs.iter().map(data).sum::<u64>()
    };
    let (left, right) = (c.first_m().ix()..c.first_n().ix(), c.first_n().ix()..c.first_k().ix());
    match plain(kernel, c, &c.lhs, left.clone()) {
        Some((arg, view)) => p.lhs = Side::Plain { arg, view },
        None => p.units.push(packing(kernel, c, &c.lhs, right.clone(), 0, faults)),
    }
    match plain(kernel, c, &c.rhs, right) {
        Some((arg, view)) => p.rhs = Side::Plain { arg, view },
        None => p.units.push(packing(kernel, c, &c.rhs, left, sites(&c.lhs), faults)),
    }
    match direct(kernel, c) {
        Some((arg, view)) => p.out = Out::Direct { arg, view },
        None => p.units.push(epilogue(kernel, c, sites(&c.lhs) + sites(&c.rhs), faults)),
    }
    p
}

impl Parts {
    /// Bytes of working memory. Packing and epilogues need none of their own: they have no reductions.
    pub fn scratch_bytes(&self) -> u64 {
        self.layout().total as u64
    }

    fn layout(&self) -> Layout {
        let size = self.acc.size() as u64;
        let mut layout = Layout::default();
        let mut take = |bytes: u64| {
            let at = layout.total;
            layout.total += (bytes as usize).next_multiple_of(64);
            at
        };
        let packed = |s: &Side| if let Side::Packed { elements } = s { elements * size } else { 0 };
        let (lhs, rhs) = (take(packed(&self.lhs)), take(packed(&self.rhs)));
        let product = take(match self.out {
            Out::Direct { .. } => 0,
            Out::Epilogue => self.batch.iter().product::<u64>() * self.extents[0] * self.extents[1] * size,
        });
        let gemm = take(self.gemm.0.scratch_bytes(self.acc, self.extents.map(|e| e as usize)));
        Layout { lhs, rhs, product, gemm, total: layout.total }
    }
}

/// The operand as a matrix in an argument, if it is one as it stands.
fn plain(kernel: &Kernel, c: &Contraction, o: &Operand, own: Range<usize>) -> Option<(ArgId, View)> {
    let load = o.as_load()?;
    if load.guard.is_some() || kernel.arg(load.arg).dtype != c.acc {
        return None;
    }
    let k = c.first_k().ix();
    let axes: Vec<Axis> = c.axes().copied().collect();
    Some((load.arg, view(&load.index, &axes, c.batch.len(), own, k..axes.len())?))
}

/// The index as a strided view, if its rows and its columns each have one stride.
fn view(index: &Index, axes: &[Axis], batch: usize, rows: Range<usize>, cols: Range<usize>) -> Option<View> {
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

/// The unit that evaluates an operand; `other` are the axes that it does not have.
fn packing(
    kernel: &Kernel,
    c: &Contraction,
    o: &Operand,
    other: Range<usize>,
    site: u64,
    faults: bool,
) -> Unit {
    let mut body = c.operand_body(o);
    for a in other {
        body.cols[a].extent = 1;
    }
    let extents: Vec<u64> = body.cols.iter().map(|a| a.extent).collect();
    let arg = ArgId(kernel.args.len() as u32);
    let index = Index::row_major(AxisId(0), &extents);
    body.stores = vec![Store { arg, index, value: o.value, guard: None, prov: 0 }];
    let mut args = kernel.args.clone();
    args.push(Arg::new("packed", c.acc, extents.iter().product(), Mode::Write));
    Unit {
        name: format!("{}.pack", kernel.name),
        source: Source::Body(simplify(&body)),
        part: Part::Whole,
        args,
        site,
        faults,
    }
}

/// The unit that runs the epilogue over products in memory.
fn epilogue(kernel: &Kernel, c: &Contraction, site: u64, faults: bool) -> Unit {
    let mut body = c.epilogue.clone();
    let extents: Vec<u64> = body.axes().map(|a| a.extent).collect();
    let arg = ArgId(kernel.args.len() as u32);
    let index = Index::row_major(AxisId(0), &extents);
    for e in &mut body.exprs {
        if e.op == ExprOp::Product {
            let (index, other) = (index.clone(), Lit::zero(c.acc));
            e.op = ExprOp::Load(Load { arg, index, guard: None, other });
        }
    }
    let mut args = kernel.args.clone();
    args.push(Arg::new("product", c.acc, extents.iter().product(), Mode::Read));
    Unit {
        name: format!("{}.epilogue", kernel.name),
        source: Source::Body(simplify(&body)),
        part: Part::Whole,
        args,
        site,
        faults,
    }
}

/// Where products go as they are, if that is all the epilogue does.
fn direct(kernel: &Kernel, c: &Contraction) -> Option<(ArgId, View)> {
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

/// A compiled contraction.
pub struct ContractKernel {
    parts: Parts,
    functions: Vec<Function>,
    cpu: CpuFeatures,
    /// Bytes from the start of the working memory.
    layout: Layout,
    phases: [Phase; 1],
}

#[derive(Debug, Default)]
struct Layout {
    lhs: usize,
    rhs: usize,
    product: usize,
    gemm: usize,
    total: usize,
}

impl ContractKernel {
    /// `functions`: the compiled units of the parts.
    pub fn new(parts: Parts, functions: Vec<Function>, cpu: CpuFeatures) -> ContractKernel {
        let layout = parts.layout();
        ContractKernel { parts, functions, cpu, layout, phases: [Phase::whole(0)] }
    }

    /// The name of the multiplication, for reports.
    pub fn gemm_name(&self) -> &'static str {
        self.parts.gemm.0.name()
    }

    /// Multiplies batch by batch.
    ///
    /// # Safety
    /// As [`HostKernel::run`], with packed operands in place.
    unsafe fn multiply(&self, args: *const *mut u8, scratch: *mut u8) {
        let p = &self.parts;
        let size = p.acc.size() as i64;
        let [m, n, k] = p.extents;
        let side = |s: &Side, rows: u64, packed: usize, b: u64| -> Matrix<u8> {
            match s {
                Side::Plain { arg, view } => {
                    // SAFETY: the table has the kernel's arguments.
                    let base = unsafe { *args.add(arg.ix()) };
                    let at = (view.offset + dot(&p.batch, &view.batch, b)) * size;
                    let (row, col) = (view.row as isize, view.col as isize);
                    Matrix { base: base.wrapping_offset(at as isize), row, col }
                }
                Side::Packed { .. } => {
                    let at = packed as u64 + b * rows * k * size as u64;
                    Matrix { base: scratch.wrapping_add(at as usize), row: k as isize, col: 1 }
                }
            }
        };
        for b in 0..p.batch.iter().product() {
            let out = match &p.out {
                Out::Direct { arg, view } => {
                    // SAFETY: the table has the kernel's arguments.
                    let base = unsafe { *args.add(arg.ix()) };
                    let at = (view.offset + dot(&p.batch, &view.batch, b)) * size;
                    let (row, col) = (view.row as isize, view.col as isize);
                    MatrixMut { base: base.wrapping_offset(at as isize), row, col }
                }
                Out::Epilogue => {
                    let at = self.layout.product as u64 + b * m * n * size as u64;
                    MatrixMut { base: scratch.wrapping_add(at as usize), row: n as isize, col: 1 }
                }
            };
            let product = Product {
                dtype: p.acc,
                extents: p.extents.map(|e| e as usize),
                lhs: side(&p.lhs, m, self.layout.lhs, b),
                rhs: side(&p.rhs, n, self.layout.rhs, b),
                out,
            };
            // SAFETY: bounds are the verifier's L6 and L9; the output is no operand (L10).
            unsafe { p.gemm.0.run(self.cpu, &product, scratch.add(self.layout.gemm)) };
        }
    }
}

/// The offset of the b-th point of the batch axes.
fn dot(extents: &[u64], strides: &[i64], b: u64) -> i64 {
    let mut rest = b;
    let mut at = 0;
    for (&e, &s) in extents.iter().zip(strides).rev() {
        at += (rest % e) as i64 * s;
        rest /= e;
    }
    at
}

impl HostKernel for ContractKernel {
    fn phases(&self) -> &[Phase] {
        &self.phases
    }

    fn scratch(&self) -> ScratchNeed {
        ScratchNeed { shared: self.layout.total as u64, own: 0 }
    }

    unsafe fn run(&self, _: usize, _: Range<u64>, args: *const *mut u8, memory: Workspace) {
        let p = &self.parts;
        let scratch = memory.shared;
        let mut functions = self.functions.iter();
        // SAFETY: `scratch` has what `layout` took; the tables have what each unit asks for.
        unsafe {
            let mut table = ArgTable::new(args, p.args, p.faults);
            for (side, at) in [(&p.lhs, self.layout.lhs), (&p.rhs, self.layout.rhs)] {
                if let (Side::Packed { .. }, Some(f)) = (side, functions.clone().next()) {
                    functions.next();
                    call(f, self.cpu, 0..f.needs.chunks, table.with(scratch.add(at)), memory);
                }
            }
            self.multiply(args, scratch);
            if let Some(f) = functions.next() {
                let product = scratch.add(self.layout.product);
                call(f, self.cpu, 0..f.needs.chunks, table.with(product), memory);
            }
        }
    }
}
