//! Forms of loops: extents around every boundary, strides, guards, quotients, gathers, reductions, tails.

use mlc_ir::DType;
use mlc_ir::loops::{
    Arg, ArgId, Atom, AxisId, BodyBuilder, Bound, CopyMap, Func, Index, Init, Kernel, Kind, Lit, Mode, Prim,
    Prov, RedOp, Scatter,
};

use super::{A0, A1, A2, Rng, check, check_filled, fill, kernel, read, write};

const EXTENTS: [u64; 12] = [0, 1, 3, 4, 5, 17, 255, 256, 257, 4095, 4096, 4097];

fn axis(a: u32) -> Index {
    Index::axis(AxisId(a))
}

#[test]
fn maps() {
    for n in EXTENTS {
        let mut b = BodyBuilder::new(&[], &[n]);
        let x = b.load(A0, DType::F32, axis(0));
        let two = b.float(DType::F32, 2.0);
        let y = b.prim(Prim::Fma, &[x, two, two]);
        b.store(A1, axis(0), y);
        check_filled(
            &format!("map {n}"),
            &kernel(vec![read("x", DType::F32, n), write("y", DType::F32, n)], b.finish()),
            n,
        );
    }
}

#[test]
fn broadcast_transpose_flip() {
    // z[i, j] = x[j, i] + bias[j] - x[flip]
    let (m, n) = (37u64, 23u64);
    let mut b = BodyBuilder::new(&[], &[m, n]);
    let t = axis(1).scale(m as i64).plus_index(&axis(0));
    let x = b.load(A0, DType::F32, t);
    let bias = b.load(A1, DType::F32, axis(1));
    let s = b.prim(Prim::Add, &[x, bias]);
    let flip = axis(0).scale(n as i64).plus_index(&axis(1)).scale(-1).plus((m * n) as i64 - 1);
    let f = b.load(A0, DType::F32, flip);
    let s = b.prim(Prim::Sub, &[s, f]);
    b.store(A2, Index::row_major(AxisId(0), &[m, n]), s);
    let args = vec![read("x", DType::F32, m * n), read("b", DType::F32, n), write("z", DType::F32, m * n)];
    check_filled("transpose", &kernel(args, b.finish()), 1);
}

#[test]
fn pad_and_roll() {
    for dtype in [DType::F32, DType::F16, DType::U8, DType::F64, DType::Bool] {
        let n = 50u64;
        let mut b = BodyBuilder::new(&[], &[3, n]);
        // Pad: in[i, j - 5] where 5 <= j < 45.
        let inside = b.in_range(&axis(1), 5, 45);
        let at = axis(0).scale(40).plus_index(&axis(1)).plus(-5);
        let x = b.load_guarded(A0, at, Some(inside), Lit::int(dtype, 1));
        // Roll by 7 in the second axis: a quotient.
        let roll = Atom::Quot { of: Box::new(axis(1).plus(7)), div: 1, modulo: Some(n) };
        let y = b.load(A1, dtype, axis(0).scale(n as i64).plus_index(&Index::term(1, roll)));
        let same = b.prim(Prim::Eq, &[x, y]);
        let v = b.prim(Prim::Select, &[same, x, y]);
        b.store(A2, Index::row_major(AxisId(0), &[3, n]), v);
        let args = vec![read("x", dtype, 120), read("y", dtype, 3 * n), write("z", dtype, 3 * n)];
        check_filled(&format!("pad {dtype}"), &kernel(args, b.finish()), 3);
    }
}

#[test]
fn guarded_stores_and_rows() {
    let mut b = BodyBuilder::new(&[5], &[9]);
    let x = b.load(A0, DType::F32, Index::row_major(AxisId(0), &[5, 9]));
    let odd = b.in_range(&axis(1), 2, 7);
    b.store_guarded(A1, Index::row_major(AxisId(0), &[5, 9]), x, Some(odd));
    let r = b.axis_value(AxisId(0));
    b.store(A2, axis(0), r);
    let mut args = vec![read("x", DType::F32, 45), Arg::new("y", DType::F32, 45, Mode::ReadWrite)];
    args.push(write("r", DType::I64, 5));
    check_filled("guards", &kernel(args, b.finish()), 4);
}

#[test]
fn gather_faults_and_wraps() {
    let (n, rows, width) = (61u64, 7u64, 5u64);
    for (wrap, lo, hi) in [(false, 0, 7), (true, -7, 7), (false, -1, 7), (true, -8, 7), (false, 0, 9)] {
        let mut b = BodyBuilder::new(&[], &[n, width]);
        let id = b.load(A0, DType::I64, axis(0));
        let row = Atom::Data(id, Bound { extent: rows, wrap });
        let x = b.load(A1, DType::F32, Index::term(width as i64, row).plus_index(&axis(1)));
        b.store(A2, Index::row_major(AxisId(0), &[n, width]), x);
        let args = vec![
            read("id", DType::I64, n),
            read("t", DType::F32, rows * width),
            write("y", DType::F32, n * width),
        ];
        let mut rng = Rng::new(5);
        let mut ids = Vec::new();
        for i in 0..n as i64 {
            ids.extend((lo + i % (hi - lo)).to_le_bytes());
        }
        let table = fill(&mut rng, DType::F32, rows * width);
        let out = vec![0; (n * width * 4) as usize];
        check(&format!("gather {lo}..{hi} wrap {wrap}"), &kernel(args, b.finish()), &[ids, table, out]);
    }
}

/// One row kernel: reduce, use the result, and both tails.
fn row_kernel(rows: u64, cols: u64, op: RedOp, dtype: DType) -> Kernel {
    let mut b = BodyBuilder::new(&[rows], &[cols]);
    let at = Index::row_major(AxisId(0), &[rows, cols]);
    let x = b.load(A0, dtype, at.clone());
    let r = b.reduce(op, x);
    b.store(A1, axis(0), r);
    let out = b.dtype(r);
    if op.is_arg() {
        let args = vec![read("x", dtype, rows * cols), write("r", out, rows)];
        return kernel(args, b.finish());
    }
    let one = b.prim(if dtype == DType::Bool { Prim::Xor } else { Prim::Max }, &[x, r]);
    b.store(A2, at, one);
    b.tail_col(op, one, ArgId(3), axis(1));
    b.tail_scalar(op, r, ArgId(4), 0);
    let args = vec![
        read("x", dtype, rows * cols),
        write("r", out, rows),
        write("y", dtype, rows * cols),
        write("c", dtype, cols),
        write("s", dtype, 1),
    ];
    kernel(args, b.finish())
}

#[test]
fn reductions() {
    for op in RedOp::ALL {
        for dtype in DType::ALL {
            if op.identity(dtype).is_none() {
                continue;
            }
            for (rows, cols) in [(5, 10), (17, 3), (2, 300)] {
                check_filled(
                    &format!("{} {dtype} {rows}x{cols}", op.name()),
                    &row_kernel(rows, cols, op, dtype),
                    9,
                );
            }
        }
    }
}

#[test]
fn reduction_lengths() {
    for n in EXTENTS.into_iter().chain([8191, 8193, 12289, 20481]) {
        for op in [RedOp::Sum, RedOp::Max] {
            check_filled(&format!("row of {n}"), &row_kernel(2, n, op, DType::F32), n);
        }
    }
    for n in [0, 1, 15, 16, 17, 33, 255, 256, 257, 1000] {
        check_filled(&format!("{n} rows"), &row_kernel(n, 6, RedOp::Sum, DType::F32), n);
        check_filled(&format!("{n} rows, argmin"), &arg_tail(n), n);
    }
}

fn arg_tail(rows: u64) -> Kernel {
    let mut b = BodyBuilder::new(&[rows], &[6]);
    let x = b.load(A0, DType::F32, Index::row_major(AxisId(0), &[rows, 6]));
    b.tail_col(RedOp::ArgMin, x, A1, axis(1));
    kernel(vec![read("x", DType::F32, rows * 6), write("c", DType::I64, 6)], b.finish())
}

#[test]
fn reduction_over_two_axes() {
    // Inner extents that are no multiple of four, and strided, so that axes do not merge.
    for (a, c) in [(100, 50), (130, 33), (3, 7)] {
        let mut b = BodyBuilder::new(&[3], &[a, c]);
        let at =
            axis(0).scale((2 * a * c) as i64).plus_index(&axis(1).scale(2 * c as i64)).plus_index(&axis(2));
        let x = b.load(A0, DType::F32, at);
        let r = b.reduce(RedOp::Sum, x);
        b.store(A1, axis(0), r);
        let args = vec![read("x", DType::F32, 3 * 2 * a * c), write("r", DType::F32, 3)];
        check_filled(&format!("two axes {a} {c}"), &kernel(args, b.finish()), a);
    }
}

#[test]
fn softmax_and_loss() {
    let (rows, cols) = (19u64, 10u64);
    let mut b = BodyBuilder::new(&[rows], &[cols]);
    let at = Index::row_major(AxisId(0), &[rows, cols]);
    let x = b.load(A0, DType::F32, at.clone());
    let m = b.reduce(RedOp::Max, x);
    let s = b.prim(Prim::Sub, &[x, m]);
    let e = b.call(Func::Exp, &[s]);
    let z = b.reduce(RedOp::Sum, e);
    let p = b.prim(Prim::Div, &[e, z]);
    b.store(A2, at, p);
    let label = b.load(A1, DType::U8, axis(0));
    let label = b.cast(DType::I64, label);
    let c = b.axis_value(AxisId(1));
    let hit = b.prim(Prim::Eq, &[c, label]);
    let zero = b.float(DType::F32, 0.0);
    let picked = b.prim(Prim::Select, &[hit, s, zero]);
    let picked = b.reduce(RedOp::Sum, picked);
    let lz = b.call(Func::Log, &[z]);
    let loss = b.prim(Prim::Sub, &[lz, picked]);
    b.tail_scalar(RedOp::Sum, loss, ArgId(3), 0);
    b.tail_col(RedOp::Sum, p, ArgId(4), axis(1));
    let args = vec![
        read("x", DType::F32, rows * cols),
        read("l", DType::U8, rows),
        write("p", DType::F32, rows * cols),
        write("loss", DType::F32, 1),
        write("c", DType::F32, cols),
    ];
    let mut rng = Rng::new(3);
    let x: Vec<u8> =
        (0..rows * cols).flat_map(|_| ((rng.below(1000) as f32 - 500.0) / 100.0).to_le_bytes()).collect();
    let l: Vec<u8> = (0..rows).map(|_| rng.below(10) as u8).collect();
    let sizes = [(rows * cols * 4) as usize, 4, (cols * 4) as usize];
    let mut all = vec![x, l];
    all.extend(sizes.map(|n| vec![0; n]));
    check("softmax", &kernel(args, b.finish()), &all);
}

#[test]
fn scatter() {
    for (init, mode) in [(Init::Zero, Mode::Write), (Init::Existing, Mode::ReadWrite)] {
        for (op, dtype) in [(RedOp::Sum, DType::F32), (RedOp::Max, DType::F16), (RedOp::Sum, DType::I32)] {
            for bad in [false, true] {
                let (n, width, rows) = (33u64, 6u64, 9u64);
                let mut b = BodyBuilder::new(&[], &[n, width]);
                let id = b.load(A0, DType::I32, axis(0));
                let v = b.load(A1, dtype, Index::row_major(AxisId(0), &[n, width]));
                let skip = b.in_range(&axis(0), 1, 30);
                let to = Atom::Data(id, Bound { extent: rows, wrap: false });
                let index = Index::term(width as i64, to).plus_index(&axis(1));
                let s = Scatter {
                    body: b.finish(),
                    value: v,
                    index,
                    guard: Some(skip),
                    dest: A2,
                    init,
                    op,
                    prov: 0,
                };
                let args = vec![
                    read("id", DType::I32, n),
                    read("v", dtype, n * width),
                    Arg::new("d", dtype, rows * width, mode),
                ];
                let k =
                    Kernel { name: "s".into(), args, kind: Kind::ScatterAdd(s), prov: vec![Prov::infra()] };
                let mut rng = Rng::new(11);
                let top = if bad { 12 } else { 9 };
                let ids: Vec<u8> = (0..n).flat_map(|_| (rng.below(top) as i32).to_le_bytes()).collect();
                let v = fill(&mut rng, dtype, n * width);
                let d = fill(&mut rng, dtype, rows * width);
                check(&format!("scatter {op:?} {dtype} {bad}"), &k, &[ids, v, d]);
            }
        }
    }
}

#[test]
fn copies() {
    for dtype in DType::ALL {
        let c = CopyMap {
            src: axis(0).plus_index(&axis(1).scale(5)),
            dst: Index::row_major(AxisId(0), &[5, 9]),
            extents: vec![5, 9],
            transfer: None,
        };
        let args = vec![read("x", dtype, 45), write("y", dtype, 45)];
        let k = Kernel { name: "c".into(), args, kind: Kind::Copy(c), prov: vec![] };
        check_filled(&format!("copy {dtype}"), &k, 2);
    }
}

#[test]
fn long_rows_in_blocks() {
    // Two stages over rows of several blocks, stores for each column and once a row; then only the latter.
    for (rows, cols) in [(1u64, 20481u64), (3, 8192), (2, 13000)] {
        for (op, dtype) in [(RedOp::Max, DType::F32), (RedOp::Sum, DType::F64), (RedOp::ArgMax, DType::F32)] {
            let mut b = BodyBuilder::new(&[rows], &[cols]);
            let at = Index::row_major(AxisId(0), &[rows, cols]);
            let x = b.load(A0, dtype, at.clone());
            let first = b.reduce(op, x);
            let first = b.cast(dtype, first);
            let y = b.prim(Prim::Sub, &[x, first]);
            let sum = b.reduce(RedOp::Sum, y);
            b.store(A1, axis(0), sum);
            b.store(A2, at, y);
            let mut args = vec![read("x", dtype, rows * cols), write("r", dtype, rows)];
            args.push(write("y", dtype, rows * cols));
            let whole = kernel(args, b.finish());
            check_filled(&format!("{} of {rows} rows of {cols}", op.name()), &whole, cols);
            let mut b = BodyBuilder::new(&[rows], &[cols]);
            let x = b.load(A0, dtype, Index::row_major(AxisId(0), &[rows, cols]));
            let r = b.reduce(op, x);
            b.store(A1, axis(0), r);
            let out = op.result(dtype);
            let args = vec![read("x", dtype, rows * cols), write("r", out, rows)];
            check_filled(&format!("only {} of {cols}", op.name()), &kernel(args, b.finish()), cols);
        }
    }
}

#[test]
fn tails_over_several_row_axes() {
    // Row axes that do not merge, each tail's kind, counts around runs and chunks.
    for (m, n) in [(3u64, 11u64), (4, 8), (7, 23), (130, 9)] {
        for op in [RedOp::Sum, RedOp::Min, RedOp::ArgMax] {
            let cols = 13u64;
            let mut b = BodyBuilder::new(&[m, n], &[cols]);
            let index = axis(0).plus_index(&axis(1).scale(m as i64)).scale(cols as i64).plus_index(&axis(2));
            let x = b.load(A0, DType::F32, index);
            b.tail_col(op, x, A1, axis(2));
            let most = b.reduce(RedOp::Max, x);
            b.tail_scalar(op, most, A2, 0);
            let out = op.result(DType::F32);
            let args = vec![read("x", DType::F32, m * n * cols), write("c", out, cols), write("s", out, 1)];
            check_filled(&format!("{} of {m}x{n}", op.name()), &kernel(args, b.finish()), m);
        }
    }
}

#[test]
fn scatter_into_wide_rows() {
    // Each destination row has columns of its own, which chunks split.
    let (n, width, rows) = (40u64, 70u64, 6u64);
    let mut b = BodyBuilder::new(&[], &[n, width]);
    let id = b.load(A0, DType::I64, axis(0));
    let v = b.load(A1, DType::F32, Index::row_major(AxisId(0), &[n, width]));
    let to = Atom::Data(id, Bound { extent: rows, wrap: true });
    let index = Index::term(width as i64, to).plus_index(&axis(1));
    let s = Scatter {
        body: b.finish(),
        value: v,
        index,
        guard: None,
        dest: A2,
        init: Init::Zero,
        op: RedOp::Sum,
        prov: 0,
    };
    let args = vec![
        read("id", DType::I64, n),
        read("v", DType::F32, n * width),
        write("d", DType::F32, rows * width),
    ];
    let k = Kernel { name: "s".into(), args, kind: Kind::ScatterAdd(s), prov: vec![Prov::infra()] };
    for top in [6, 9] {
        let mut rng = Rng::new(top as u64);
        let ids: Vec<u8> = (0..n).flat_map(|_| (rng.below(top) as i64 - 2).to_le_bytes()).collect();
        let v = fill(&mut rng, DType::F32, n * width);
        check(&format!("wide scatter {top}"), &k, &[ids, v, vec![0; (rows * width * 4) as usize]]);
    }
}

#[test]
fn labels_far_outside() {
    // The low 32 bits of a label would be a position.
    let n = 12u64;
    let mut b = BodyBuilder::new(&[3], &[n]);
    let label = b.load(A0, DType::I64, axis(0));
    let at = b.axis_value(AxisId(1));
    let hit = b.prim(Prim::Eq, &[at, label]);
    let hit = b.cast(DType::F32, hit);
    b.store(A1, Index::row_major(AxisId(0), &[3, n]), hit);
    let k = kernel(vec![read("label", DType::I64, 3), write("y", DType::F32, 3 * n)], b.finish());
    let labels: Vec<u8> = [(1i64 << 32) + 3, 5, 6 - (1 << 33)].iter().flat_map(|l| l.to_le_bytes()).collect();
    check("labels", &k, &[labels, vec![0; 3 * n as usize * 4]]);
}
