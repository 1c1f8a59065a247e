//! Contractions against the interpreter: shapes, operands that must be evaluated, epilogues, axes that do not merge.

use mlc_ir::DType;
use mlc_ir::loops::{
    Arg, ArgId, Atom, Axis, AxisId, BodyBuilder, Bound, Contraction, Func, Index, Kernel, Kind, Lit,
    LoopBody, Mode, Operand, Prim, Prov, Rounding,
};

use crate::features::CpuFeatures;

use super::{A0, A1, A2, Rng, check, fill, read, write};

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
fn bits_are_the_interpreters() {
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

/// What many tiles read is packed by a phase of its own; what one tile reads is not, nor what is soon packed again.
#[test]
fn operands_of_many_tiles_are_packed_before() {
    let phases = |m, n, k| {
        let spec = Spec { m, n, k, batch: 1, dtype: DType::F32, transposed: true, rich: false };
        let code = super::compile(&contraction(&spec), CpuFeatures::detect()).unwrap();
        (code.phases().len(), code.scratch().shared)
    };
    assert_eq!(phases(64, 10, 128), (1, 0));
    let (two, bytes) = phases(2048, 2048, 512);
    // Both operands, and what fills their last groups.
    assert!(two == 2 && (8 << 20..9 << 20).contains(&bytes), "{two} phases, {bytes} bytes");
}

/// Operands and epilogues beyond those of [`Spec`].
struct Parts {
    args: Vec<Arg>,
    axes: [Vec<u64>; 4],
    lhs: Operand,
    rhs: Operand,
    epilogue: LoopBody,
}

impl Parts {
    fn kernel(self) -> Kernel {
        let axes = self.axes.map(|a| a.into_iter().map(|extent| Axis { extent }).collect::<Vec<_>>());
        let [batch, m, n, k] = axes;
        let (lhs, rhs, epilogue) = (self.lhs, self.rhs, self.epilogue);
        let (acc, rounding) = (DType::F32, Rounding::Free);
        let c = Contraction { batch, m, n, k, lhs, rhs, acc, rounding, epilogue };
        Kernel { name: "c".into(), args: self.args, kind: Kind::Contract(c), prov: vec![Prov::infra()] }
    }
}

fn at(axis: u32, stride: u64) -> Index {
    Index::axis(AxisId(axis)).scale(stride as i64)
}

/// A plain operand.
fn loaded(arg: ArgId, axes: &[u64], index: Index) -> Operand {
    let mut b = BodyBuilder::new(&[], axes);
    let value = b.load(arg, DType::F32, index);
    Operand { exprs: b.finish().exprs, value }
}

fn check_numbers(what: &str, kernel: &Kernel, seed: u64) {
    let mut rng = Rng::new(seed);
    let args: Vec<Vec<u8>> = kernel.args.iter().map(|a| numbers(&mut rng, a.dtype, a.len)).collect();
    check(what, kernel, &args);
}

/// Momentum and weights are updated in place, and the gradient's share of weight decay is read before.
#[test]
fn an_optimizer_in_the_epilogue() {
    for (m, n, k) in [(7, 19, 5), (128, 40, 64), (33, 300, 260)] {
        let axes = [m, n, k];
        let mut e = BodyBuilder::new(&[m], &[n]);
        let place = Index::row_major(AxisId(0), &[m, n]);
        let g = e.product(DType::F32);
        let w = e.load(A2, DType::F32, place.clone());
        let v = e.load(ArgId(3), DType::F32, place.clone());
        let lr = e.load(ArgId(4), DType::F32, Index::constant(0));
        let momentum = e.float(DType::F32, 0.9);
        let v = e.prim(Prim::Mul, &[v, momentum]);
        let v = e.prim(Prim::Add, &[v, g]);
        let step = e.prim(Prim::Mul, &[lr, v]);
        let w = e.prim(Prim::Sub, &[w, step]);
        e.store(ArgId(3), place.clone(), v);
        e.store(A2, place, w);
        let kernel = Parts {
            args: vec![
                read("dy", DType::F32, m * k),
                read("x", DType::F32, n * k),
                Arg::new("w", DType::F32, m * n, Mode::ReadWrite),
                Arg::new("v", DType::F32, m * n, Mode::ReadWrite),
                read("lr", DType::F32, 1),
            ],
            axes: [vec![], vec![m], vec![n], vec![k]],
            // As a weight's gradient is: k outermost in both.
            lhs: loaded(A0, &axes, at(0, 1).plus_index(&at(2, m))),
            rhs: loaded(A1, &axes, at(1, 1).plus_index(&at(2, n))),
            epilogue: e.finish(),
        }
        .kernel();
        check_numbers(&format!("sgd {m}x{n}x{k}"), &kernel, m);
    }
}

/// All that the epilogue reads and writes lies along m, but for a store once a row; m and n of several axes, or of ones
/// that count nothing.
#[test]
fn epilogues_along_m() {
    for (m, n, k) in
        [([1, 1], [3, 5], 4), ([2, 35], [1, 9], 260), ([8, 40], [3, 70], 64), ([100, 1], [1, 1], 7)]
    {
        let ([m0, m1], [n0, n1]) = (m, n);
        let (rows, cols) = (m0 * m1, n0 * n1);
        let axes = [2, m0, m1, n0, n1, k];
        let mut e = BodyBuilder::new(&axes[..3], &axes[3..5]);
        let row = at(1, m1).plus_index(&at(2, 1));
        let column = at(3, n1).plus_index(&at(4, 1));
        let place = at(0, rows * cols).plus_index(&column.clone().scale(rows as i64)).plus_index(&row);
        let p = e.product(DType::F32);
        let v = e.load(A2, DType::F32, place.clone());
        let bias = e.load(ArgId(3), DType::F32, row.clone());
        let v = e.prim(Prim::Mul, &[v, bias]);
        let v = e.prim(Prim::Sub, &[p, v]);
        let whole = e.axis_value(AxisId(2));
        e.store(A2, place, v);
        e.store(ArgId(4), at(0, rows).plus_index(&row), whole);
        let lhs = at(0, rows * k).plus_index(&row).plus_index(&at(5, rows));
        let rhs = at(0, cols * k).plus_index(&column).plus_index(&at(5, cols));
        let kernel = Parts {
            args: vec![
                read("x", DType::F32, 2 * rows * k),
                read("dy", DType::F32, 2 * cols * k),
                Arg::new("w", DType::F32, 2 * rows * cols, Mode::ReadWrite),
                read("b", DType::F32, rows),
                write("i", DType::I64, 2 * rows),
            ],
            axes: [vec![2], m.to_vec(), n.to_vec(), vec![k]],
            lhs: loaded(A0, &axes, lhs),
            rhs: loaded(A1, &axes, rhs),
            epilogue: e.finish(),
        }
        .kernel();
        check_numbers(&format!("along m {m:?}x{n:?}x{k}"), &kernel, k);
    }
}

/// The gradients of a linear layer between heads: an operand's rows and columns lie in runs, across or along k.
#[test]
fn operands_in_runs() {
    for (heads, wide, images, time, n) in [(3, 16, 2, 40, 33), (2, 9, 3, 130, 20), (1, 64, 1, 5, 70)] {
        let m = heads * wide;
        let axes = [heads, wide, n, images, time];
        let mut e = BodyBuilder::new(&[heads, wide], &[n]);
        let p = e.product(DType::F32);
        e.store(A2, Index::row_major(AxisId(0), &[heads, wide, n]), p);
        for along_k in [false, true] {
            let (unit, step) = if along_k { (time, 1) } else { (1, wide) };
            let lhs = at(0, images * time * wide)
                .plus_index(&at(1, unit))
                .plus_index(&at(3, time * wide))
                .plus_index(&at(4, step));
            let rhs = at(2, 1).plus_index(&at(3, time * n)).plus_index(&at(4, n));
            let kernel = Parts {
                args: vec![
                    read("dy", DType::F32, images * time * m),
                    read("x", DType::F32, images * time * n),
                    write("dw", DType::F32, m * n),
                ],
                axes: [vec![], vec![heads, wide], vec![n], vec![images, time]],
                lhs: loaded(A0, &axes, lhs),
                rhs: loaded(A1, &axes, rhs),
                epilogue: e.clone().finish(),
            }
            .kernel();
            check_numbers(&format!("runs {heads}x{wide} {images}x{time} {along_k}"), &kernel, n);
        }
    }
}

/// Two outputs, one of a function, one transposed, and a store once a row.
#[test]
fn several_stores_and_functions() {
    for (m, n, k) in [(1, 1, 3), (5, 70, 9), (64, 130, 40), (200, 10, 300)] {
        let axes = [m, n, k];
        let mut e = BodyBuilder::new(&[m], &[n]);
        let h = e.product(DType::F32);
        let g = e.call(Func::Tanh, &[h]);
        let g = e.prim(Prim::Mul, &[g, h]);
        let row = e.axis_value(AxisId(0));
        e.store(A2, Index::row_major(AxisId(0), &[m, n]), h);
        e.store(ArgId(3), at(0, 1).plus_index(&at(1, m)), g);
        e.store(ArgId(4), at(0, 1), row);
        let kernel = Parts {
            args: vec![
                read("x", DType::F32, m * k),
                read("w", DType::F32, n * k),
                write("h", DType::F32, m * n),
                write("g", DType::F32, m * n),
                write("i", DType::I64, m),
            ],
            axes: [vec![], vec![m], vec![n], vec![k]],
            lhs: loaded(A0, &axes, at(0, k).plus_index(&at(2, 1))),
            rhs: loaded(A1, &axes, at(1, k).plus_index(&at(2, 1))),
            epilogue: e.finish(),
        }
        .kernel();
        check_numbers(&format!("stores {m}x{n}x{k}"), &kernel, n);
    }
}

/// A convolution of one axis with padding, from half-width elements: m is (image, place), k is (channel, tap), and the
/// output's channels come before its places.
#[test]
fn axes_that_do_not_merge_and_guards() {
    for dtype in [DType::F16, DType::BF16, DType::U8, DType::F32] {
        let (images, width, channels, taps, n) = (3u64, 37u64, 5u64, 3u64, 21u64);
        let axes = [images, width, n, channels, taps];
        let mut l = BodyBuilder::new(&[], &axes);
        let place = at(1, 1).plus_index(&at(4, 1)).plus(-1);
        let inside = l.in_range(&place, 0, width as i64);
        let index = at(0, channels * width).plus_index(&at(3, width)).plus_index(&place);
        let x = l.load_guarded(A0, index, Some(inside), Lit::int(dtype, 0));
        let x = l.cast(DType::F32, x);
        let weights = at(2, channels * taps).plus_index(&at(3, taps)).plus_index(&at(4, 1));
        let mut e = BodyBuilder::new(&[images, width], &[n]);
        let p = e.product(DType::F32);
        let bias = e.load(ArgId(3), DType::F32, at(2, 1));
        let y = e.prim(Prim::Add, &[p, bias]);
        let out = at(0, n * width).plus_index(&at(2, width)).plus_index(&at(1, 1));
        e.store(A2, out, y);
        let kernel = Parts {
            args: vec![
                read("x", dtype, images * channels * width),
                read("w", DType::F32, n * channels * taps),
                write("y", DType::F32, images * n * width),
                read("b", DType::F32, n),
            ],
            axes: [vec![], vec![images, width], vec![n], vec![channels, taps]],
            lhs: Operand { exprs: l.finish().exprs, value: x },
            rhs: loaded(A1, &axes, weights),
            epilogue: e.finish(),
        }
        .kernel();
        check_numbers(&format!("convolution {dtype}"), &kernel, 3);
    }
}

/// Rows of a table by an index that may be out of bounds: the fault is recorded, the row clamped.
#[test]
fn operands_that_gather() {
    for (from, what) in [(0, "inside"), (3, "outside")] {
        let (m, n, k, rows) = (70u64, 18u64, 300u64, 9u64);
        let axes = [m, n, k];
        let mut l = BodyBuilder::new(&[], &axes);
        let id = l.load(A2, DType::I32, at(0, 1));
        let row = Index::term(k as i64, Atom::Data(id, Bound { extent: rows, wrap: false }));
        let x = l.load(A0, DType::F32, row.plus_index(&at(2, 1)));
        let mut e = BodyBuilder::new(&[m], &[n]);
        let p = e.product(DType::F32);
        e.store(ArgId(3), Index::row_major(AxisId(0), &[m, n]), p);
        let kernel = Parts {
            args: vec![
                read("table", DType::F32, rows * k),
                read("w", DType::F32, n * k),
                read("id", DType::I32, m),
                write("y", DType::F32, m * n),
            ],
            axes: [vec![], vec![m], vec![n], vec![k]],
            lhs: Operand { exprs: l.finish().exprs, value: x },
            rhs: loaded(A1, &axes, at(1, k).plus_index(&at(2, 1))),
            epilogue: e.finish(),
        }
        .kernel();
        let mut rng = Rng::new(from as u64);
        let mut args: Vec<Vec<u8>> = kernel.args.iter().map(|a| numbers(&mut rng, a.dtype, a.len)).collect();
        args[2] = (0..m as i32).flat_map(|i| (from + i % 9).to_le_bytes()).collect();
        check(what, &kernel, &args);
    }
}
