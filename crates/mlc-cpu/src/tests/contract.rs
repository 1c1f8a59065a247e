//! Contractions in the canonical order against the interpreter; free ones against the canonical to a tolerance.

use mlc_ir::DType;
use mlc_ir::loops::{
    Arg, ArgId, Axis, AxisId, BodyBuilder, Contraction, Index, Kernel, Kind, Mode, Operand, Prim, Prov,
    Rounding,
};

use super::{A0, A1, A2, Order, Rng, check, fill, read, run, write};
use crate::backend::{CpuBackend, CpuOptions};
use crate::features::CpuFeatures;

struct Spec {
    m: u64,
    n: u64,
    k: u64,
    batch: u64,
    dtype: DType,
    transposed: bool,
    /// Bias, relu, and an input that must be cast first.
    rich: bool,
}

fn contraction(s: &Spec) -> Kernel {
    let axes = [s.batch, s.m, s.n, s.k];
    let axis = |extent| vec![Axis { extent }];
    let at = |a: u32, stride: u64| Index::axis(AxisId(a)).scale(stride as i64);
    let source = if s.rich { DType::U8 } else { s.dtype };
    let mut l = BodyBuilder::new(&[], &axes);
    let (row, col) = if s.transposed { (1, s.m) } else { (s.k, 1) };
    let index = at(0, s.m * s.k).plus_index(&at(1, row)).plus_index(&at(3, col));
    let x = l.load(A0, source, index);
    let x = l.cast(s.dtype, x);
    let mut r = BodyBuilder::new(&[], &axes);
    let (row, col) = if s.transposed { (1, s.n) } else { (s.k, 1) };
    let index = at(0, s.n * s.k).plus_index(&at(2, row)).plus_index(&at(3, col));
    let w = r.load(A1, s.dtype, index);
    let mut e = BodyBuilder::new(&[s.batch, s.m], &[s.n]);
    let mut p = e.product(s.dtype);
    if s.rich {
        let bias = e.load(ArgId(3), s.dtype, Index::axis(AxisId(2)));
        p = e.prim(Prim::Add, &[p, bias]);
        let zero = e.int(s.dtype, 0);
        p = e.prim(Prim::Max, &[p, zero]);
    }
    e.store(A2, Index::row_major(AxisId(0), &[s.batch, s.m, s.n]), p);
    let c = Contraction {
        batch: axis(s.batch),
        m: axis(s.m),
        n: axis(s.n),
        k: axis(s.k),
        lhs: Operand { exprs: l.finish().exprs, value: x },
        rhs: Operand { exprs: r.finish().exprs, value: w },
        acc: s.dtype,
        rounding: Rounding::Free,
        epilogue: e.finish(),
    };
    let mut args = vec![
        read("x", source, s.batch * s.m * s.k),
        read("w", s.dtype, s.batch * s.n * s.k),
        write("y", s.dtype, s.batch * s.m * s.n),
    ];
    if s.rich {
        args.push(Arg::new("b", s.dtype, s.n, Mode::Read));
    }
    Kernel { name: "mm".into(), args, kind: Kind::Contract(c), prov: vec![Prov::infra()] }
}

fn numbers(rng: &mut Rng, dtype: DType, len: u64) -> Vec<u8> {
    let number = |rng: &mut Rng| (rng.below(2001) as f64 - 1000.0) / 500.0;
    match dtype {
        DType::F32 => (0..len).flat_map(|_| (number(rng) as f32).to_le_bytes()).collect(),
        DType::F64 => (0..len).flat_map(|_| number(rng).to_le_bytes()).collect(),
        _ => fill(rng, dtype, len),
    }
}

#[test]
fn canonical_is_the_interpreters() {
    let shapes = [
        (1, 1, 1, 1),
        (64, 10, 128, 1),
        (7, 17, 255, 2),
        (8, 16, 256, 1),
        (5, 33, 257, 1),
        (13, 3, 784, 1),
        (2, 520, 300, 1),
        (3, 4, 0, 2),
        (0, 4, 5, 1),
        (3, 5, 7, 3),
    ];
    for (i, (m, n, k, batch)) in shapes.into_iter().enumerate() {
        for dtype in [DType::F32, DType::F64, DType::I32] {
            for (transposed, rich) in [(false, false), (true, false), (false, true)] {
                let kernel = contraction(&Spec { m, n, k, batch, dtype, transposed, rich });
                let mut rng = Rng::new(i as u64);
                let args: Vec<Vec<u8>> =
                    kernel.args.iter().map(|a| numbers(&mut rng, a.dtype, a.len)).collect();
                check(&format!("{m}x{n}x{k} b{batch} {dtype} t{transposed} r{rich}"), &kernel, &args);
            }
        }
    }
}

#[test]
fn free_rounding_is_close() {
    let kernel = contraction(&Spec {
        m: 33,
        n: 65,
        k: 784,
        batch: 2,
        dtype: DType::F32,
        transposed: false,
        rich: false,
    });
    let mut rng = Rng::new(1);
    let args: Vec<Vec<u8>> = kernel.args.iter().map(|a| numbers(&mut rng, a.dtype, a.len)).collect();
    let features = CpuFeatures::detect();
    let [strict, free] = [true, false].map(|strict| {
        let backend = CpuBackend::new(CpuOptions::new(features, strict));
        let (kernels, _) = backend.kernels(std::slice::from_ref(&kernel)).unwrap();
        run(&kernel, &*kernels[0], &args, Order::Forward).0.remove(2)
    });
    let floats =
        |b: &[u8]| b.chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect::<Vec<_>>();
    for (a, b) in floats(&strict).into_iter().zip(floats(&free)) {
        assert!((a - b).abs() <= 1e-3 * (1.0 + a.abs()), "{a} {b}");
    }
}
