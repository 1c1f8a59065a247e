//! Measures this machine for the table of costs ([`Costs`]): `mlc devices --calibrate`.
//!
//! Each figure comes of kernels that the back end itself compiles, mostly as the difference of two, so that it is what
//! kernels really pay. A time is the least of many runs: what else the machine does only makes runs longer. All of
//! it takes about three seconds. No figure can show in a result: the table cuts kernels into chunks and tiles.

use std::time::{Duration, Instant};

use mlc_diag::Diagnostic;
use mlc_ir::DType;
use mlc_ir::loops::{
    Arg, ArgId, Atom, Axis, AxisId, BodyBuilder, Bound, Contraction, ExprId, FaultRecord, Func, Index,
    Kernel, Kind, LoopBody, Mode, Operand, Prim, Prov, RedOp, Rounding,
};
use mlc_runtime::exec::{Call, HostMemory, Pool};

use crate::backend::{CpuBackend, CpuOptions};
use crate::features::{CpuFeatures, Level};
use crate::gemm;
use crate::schedule::{Costs, Multiply};

/// Elements of what is to stay in the first cache.
const NEAR: u64 = 2048;
/// How long one kernel is measured.
const TIME: Duration = Duration::from_millis(40);
/// A run between two looks at the clock takes at least this.
const LOOK: Duration = Duration::from_micros(50);

/// The table of this machine for code of a level, with so many threads.
///
/// # Errors
/// If memory cannot be had.
pub fn measure(features: CpuFeatures, threads: usize) -> Result<Costs, Diagnostic> {
    let m = Machine { features, alone: Pool::new(1), backend: one_thread(features) };
    let built_in = Costs::default();
    let copy = m.map(DType::F32, NEAR, 0, |_, x| x)?;
    // Steps of a chain, less what the loop around them takes.
    let chain = |dtype, steps: u32, step: &dyn Fn(&mut BodyBuilder, ExprId) -> ExprId| {
        let whole = m.map(dtype, NEAR, steps, step)?;
        Ok::<f64, Diagnostic>((whole - m.map(dtype, NEAR, 0, step)?) / f64::from(steps))
    };
    let cheap = chain(DType::F32, 16, &|b, x| {
        let (half, one) = (b.float(DType::F32, 0.5), b.float(DType::F32, 1.0));
        let x = b.prim(Prim::Mul, &[x, half]);
        b.prim(Prim::Add, &[x, one])
    })? / 2.0;
    let divide = chain(DType::F32, 4, &|b, x| {
        let by = b.float(DType::F32, 1.25);
        b.prim(Prim::Div, &[by, x])
    })?;
    let whole = chain(DType::I64, 8, &|b, x| {
        let three = b.int(DType::I64, 3);
        b.prim(Prim::Mul, &[x, three])
    })?;
    let quotient = chain(DType::I32, 4, &|b, x| {
        let by = b.int(DType::I32, 1_000_003);
        b.prim(Prim::Div, &[by, x])
    })?;
    let scalar = (whole + quotient + (m.gather()? - copy).max(0.0)) / 3.0;
    let of = |f: Func, dtype: DType| {
        let call = move |b: &mut BodyBuilder, x: ExprId| match f {
            Func::Pow => b.call(f, &[x, x]),
            _ => b.call(f, &[x]),
        };
        Ok::<f64, Diagnostic>(m.map(dtype, NEAR, 1, call)? - m.map(dtype, NEAR, 0, call)?)
    };
    let function =
        (of(Func::Exp, DType::F32)? + of(Func::Log, DType::F32)? + of(Func::Tanh, DType::F32)?) / 3.0;
    let reduce = m.reduce(2)? - m.reduce(1)?;
    // A value is read and written.
    let byte = |elements: u64| Ok::<f64, Diagnostic>(m.map(DType::F32, elements, 0, |_, x| x)? / 8.0);
    let (near_byte, far_byte) = (byte(16 << 10)?, byte(16 << 20)?);
    let between = (near_byte * far_byte).sqrt();
    let mut near = 128 << 10;
    while near < 64 << 20 && byte(2 * near / 8)? < between {
        near *= 2;
    }
    let ps = |ns: f64| ((ns * 1000.0).round() as u64).clamp(1, MOST_PS);
    Ok(Costs {
        cheap: ps(cheap),
        divide: ps(divide),
        scalar: ps(scalar),
        function: ps(function),
        long_function: ps(of(Func::Pow, DType::F32)?),
        scalar_function: ps(of(Func::Exp, DType::F64)?),
        reduce: ps(reduce),
        far_byte: ps(far_byte),
        near_byte: ps(near_byte),
        near,
        grain_ns: if threads > 1 { grain(threads) } else { built_in.grain_ns },
        multiply: Some(m.multiply()?),
    })
}

/// Most picoseconds that a table may give for an element.
const MOST_PS: u64 = 10_000_000;

/// Whether a table can be of a machine: a damaged one would cut kernels into nothing.
///
/// # Errors
/// Names the first figure that cannot be.
pub fn check(costs: &Costs) -> Result<(), String> {
    let multiply = costs.multiply.unwrap_or(Multiply { vector: 1, latency: 1 });
    let times = [
        ("cheap", costs.cheap),
        ("divide", costs.divide),
        ("scalar", costs.scalar),
        ("function", costs.function),
        ("long_function", costs.long_function),
        ("scalar_function", costs.scalar_function),
        ("reduce", costs.reduce),
        ("far_byte", costs.far_byte),
        ("near_byte", costs.near_byte),
        ("multiply.vector", multiply.vector),
        ("multiply.latency", multiply.latency),
    ];
    let ranges = times.map(|(name, n)| (name, n, 1, MOST_PS));
    let sizes = [("near", costs.near, 1 << 10, 1 << 40), ("grain_ns", costs.grain_ns, 100, 1_000_000_000)];
    match ranges.into_iter().chain(sizes).find(|&(_, n, low, high)| n < low || n > high) {
        Some((name, n, low, high)) => Err(format!("`{name}` is {n}, which is not in {low} to {high}")),
        None => Ok(()),
    }
}

fn one_thread(features: CpuFeatures) -> CpuBackend {
    CpuBackend::new(CpuOptions::new(features, true).threads(1))
}

/// A chunk is as long as ten times what a shared phase costs beside its work.
fn grain(threads: usize) -> u64 {
    let pool = Pool::new(threads);
    let chunks = 4 * threads as u64;
    let ns = fastest(|| {
        // A worker that panicked has said so; the empty task cannot.
        let _ = pool.run(chunks, &|chunk, _| {
            std::hint::black_box(chunk);
        });
    });
    ((10.0 * ns) as u64).clamp(5_000, 200_000)
}

/// The least time of a call in nanoseconds.
fn fastest(mut run: impl FnMut()) -> f64 {
    let mut time = |runs: u32| {
        let start = Instant::now();
        (0..runs).for_each(|_| run());
        start.elapsed()
    };
    let mut runs = 1;
    while time(runs) < LOOK && runs < 1 << 20 {
        runs *= 2;
    }
    let (end, mut best) = (Instant::now() + TIME, Duration::MAX);
    for i in 0.. {
        best = best.min(time(runs));
        if i >= 3 && Instant::now() > end {
            break;
        }
    }
    best.as_secs_f64() * 1e9 / f64::from(runs)
}

struct Machine {
    features: CpuFeatures,
    alone: Pool,
    backend: CpuBackend,
}

impl Machine {
    /// The time of an element of a map from `dtype`, `steps` times `step`, over so many elements.
    fn map(
        &self,
        dtype: DType,
        elements: u64,
        steps: u32,
        step: impl Fn(&mut BodyBuilder, ExprId) -> ExprId,
    ) -> Result<f64, Diagnostic> {
        let mut b = BodyBuilder::new(&[], &[elements]);
        let at = Index::axis(AxisId(0));
        let x = b.load(ArgId(0), dtype, at.clone());
        let y = (0..steps).fold(x, |x, _| step(&mut b, x));
        b.store(ArgId(1), at, y);
        let args = vec![
            Arg::new("x", dtype, elements, Mode::Read),
            Arg::new("y", b.dtype(y), elements, Mode::Write),
        ];
        Ok(self.time(&loops(args, b.finish()))? / elements as f64)
    }

    /// The time of an element that is read where data says.
    fn gather(&self) -> Result<f64, Diagnostic> {
        let mut b = BodyBuilder::new(&[], &[NEAR]);
        let at = Index::axis(AxisId(0));
        let place = b.load(ArgId(0), DType::I32, at.clone());
        let from = Index::term(1, Atom::Data(place, Bound { extent: NEAR, wrap: false }));
        let v = b.load(ArgId(1), DType::F32, from);
        b.store(ArgId(2), at, v);
        let args = vec![
            Arg::new("i", DType::I32, NEAR, Mode::Read),
            Arg::new("x", DType::F32, NEAR, Mode::Read),
            Arg::new("y", DType::F32, NEAR, Mode::Write),
        ];
        Ok(self.time(&loops(args, b.finish()))? / NEAR as f64)
    }

    /// The time of an element of a row that so many reductions take.
    fn reduce(&self, count: usize) -> Result<f64, Diagnostic> {
        let mut b = BodyBuilder::new(&[1], &[NEAR]);
        let x = b.load(ArgId(0), DType::F32, Index::axis(AxisId(1)));
        for (i, op) in [RedOp::Sum, RedOp::Prod].into_iter().take(count).enumerate() {
            let r = b.reduce(op, x);
            b.store(ArgId(1 + i as u32), Index::constant(0), r);
        }
        let mut args = vec![Arg::new("x", DType::F32, NEAR, Mode::Read)];
        args.extend((0..count).map(|_| Arg::new("r", DType::F32, 1, Mode::Write)));
        Ok(self.time(&loops(args, b.finish()))? / NEAR as f64)
    }

    /// Contractions of f32: a square one, and one row whose sums wait for one another.
    fn multiply(&self) -> Result<Multiply, Diagnostic> {
        // Without the instruction, a multiply-add is a call.
        let n = if self.features.level > Level::Portable { 192 } else { 48 };
        let vectors = n * n * n / gemm::vector_elements(self.features.level);
        let vector = self.time(&product(n, n, n))? / vectors as f64;
        let lanes = gemm::row_lanes(self.features.level);
        let latency = (self.time(&product(1, lanes, 256))? - self.time(&product(1, lanes, 64))?) / 192.0;
        let ps = |ns: f64| ((ns * 1000.0).round() as u64).clamp(1, MOST_PS);
        Ok(Multiply { vector: ps(vector), latency: ps(latency) })
    }

    /// The time of a call in nanoseconds.
    fn time(&self, kernel: &Kernel) -> Result<f64, Diagnostic> {
        let (code, _) = self.backend.kernels(std::slice::from_ref(kernel))?;
        let code = &*code[0];
        let mut memory = Vec::with_capacity(kernel.args.len());
        for arg in &kernel.args {
            memory.push(filled(arg)?);
        }
        let fault = HostMemory::zeroed(size_of::<FaultRecord>() as u64, 64)?;
        let scratch = HostMemory::zeroed(code.scratch().bytes(1), 64)?;
        let mut table: Vec<*mut u8> = memory.iter().map(HostMemory::base).collect();
        table.push(fault.base());
        // SAFETY: a pointer for each argument, as long as it; a fault record; working memory for one thread. All of
        // them outlive the call.
        let call = unsafe { Call::new(code, table.as_ptr(), scratch.base()) };
        Ok(fastest(|| {
            // A pool of one has no worker that could panic.
            let _ = call.run(&self.alone, |_| false);
        }))
    }
}

/// An argument with ordinary numbers: neither zeros nor subnormals, whose times may differ.
fn filled(arg: &Arg) -> Result<HostMemory, Diagnostic> {
    let mut memory = HostMemory::zeroed(arg.len * arg.dtype.size() as u64, 64)?;
    let one: Vec<u8> = match arg.dtype {
        DType::F32 => 1.5f32.to_le_bytes().to_vec(),
        DType::F64 => 1.5f64.to_le_bytes().to_vec(),
        _ => 7i64.to_le_bytes()[..arg.dtype.size()].to_vec(),
    };
    memory.as_mut_slice().chunks_exact_mut(one.len()).for_each(|to| to.copy_from_slice(&one));
    Ok(memory)
}

fn loops(args: Vec<Arg>, body: LoopBody) -> Kernel {
    Kernel { name: "k".into(), args, kind: Kind::Loop(body), prov: vec![Prov::infra()] }
}

/// The product of [m, k] and [k, n].
fn product(m: u64, n: u64, k: u64) -> Kernel {
    let axes = [m, n, k];
    let axis = |extent| vec![Axis { extent }];
    let operand = |arg: u32, index: Index| {
        let mut b = BodyBuilder::new(&[], &axes);
        let value = b.load(ArgId(arg), DType::F32, index);
        Operand { exprs: b.finish().exprs, value }
    };
    let at = |axis: u32, stride: u64| Index::axis(AxisId(axis)).scale(stride as i64);
    let mut e = BodyBuilder::new(&[m], &[n]);
    let p = e.product(DType::F32);
    e.store(ArgId(2), Index::row_major(AxisId(0), &[m, n]), p);
    let c = Contraction {
        batch: vec![],
        m: axis(m),
        n: axis(n),
        k: axis(k),
        lhs: operand(0, at(0, k).plus_index(&at(2, 1))),
        rhs: operand(1, at(2, n).plus_index(&at(1, 1))),
        acc: DType::F32,
        rounding: Rounding::Free,
        epilogue: e.finish(),
    };
    let args = vec![
        Arg::new("x", DType::F32, m * k, Mode::Read),
        Arg::new("w", DType::F32, n * k, Mode::Read),
        Arg::new("y", DType::F32, m * n, Mode::Write),
    ];
    Kernel { name: "mm".into(), args, kind: Kind::Contract(c), prov: vec![Prov::infra()] }
}
