//! Whole kernels against loops written by hand.

use super::*;
use crate::DType;
use crate::loops::*;

fn f32s(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn to_f32s(x: &[u8]) -> Vec<f32> {
    x.chunks(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 1009) as f32 / 97.0 - 5.0).collect()
}

fn arg(name: &str, len: u64, mode: Mode) -> Arg {
    Arg::new(name, DType::F32, len, mode)
}

fn kernel(name: &str, args: Vec<Arg>, kind: Kind) -> Kernel {
    Kernel { name: name.into(), args, kind, prov: vec![Prov::infra()] }
}

pub fn softmax(rows: u64, cols: u64) -> Kernel {
    let mut b = BodyBuilder::new(&[rows], &[cols]);
    let at = Index::row_major(AxisId(0), &[rows, cols]);
    let x = b.load(ArgId(0), DType::F32, at.clone());
    let max = b.reduce(RedOp::Max, x);
    let d = b.prim(Prim::Sub, &[x, max]);
    let e = b.call(Func::Exp, &[d]);
    let sum = b.reduce(RedOp::Sum, e);
    let y = b.prim(Prim::Div, &[e, sum]);
    b.store(ArgId(1), at, y);
    let args = vec![arg("x", rows * cols, Mode::Read), arg("y", rows * cols, Mode::Write)];
    kernel("softmax", args, Kind::Loop(b.finish()))
}

#[test]
fn softmax_rows() {
    for (rows, cols) in [(1, 1), (3, 5), (2, 257), (2, 4097), (0, 4), (4, 0)] {
        let x = numbers((rows * cols) as usize);
        let mut args = [f32s(&x), vec![0; x.len() * 4]];
        let fault = run_kernel(&softmax(rows, cols), &mut args).unwrap();
        assert_eq!(fault.site, 0);
        for (x, y) in x.chunks(cols.max(1) as usize).zip(to_f32s(&args[1]).chunks(cols.max(1) as usize)) {
            let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = x.iter().map(|v| f64::from(v - max).exp()).sum();
            for (x, y) in x.iter().zip(y) {
                let want = f64::from(x - max).exp() / sum;
                assert!((f64::from(*y) - want).abs() <= 1e-6 * want, "{y} {want}");
            }
        }
    }
}

#[test]
fn column_sums_and_mean_of_rows() {
    let (rows, cols) = (37u64, 3u64);
    let mut b = BodyBuilder::new(&[rows], &[cols]);
    let x = b.load(ArgId(0), DType::F32, Index::row_major(AxisId(0), &[rows, cols]));
    b.tail_col(RedOp::Sum, x, ArgId(1), Index::axis(AxisId(1)));
    let s = b.reduce(RedOp::Max, x);
    b.tail_scalar(RedOp::Sum, s, ArgId(2), 0);
    let args = vec![arg("x", rows * cols, Mode::Read), arg("c", cols, Mode::Write), arg("s", 1, Mode::Write)];
    let x = numbers(111);
    let mut data = [f32s(&x), vec![0; 12], vec![0; 4]];
    run_kernel(&kernel("cols", args, Kind::Loop(b.finish())), &mut data).unwrap();
    let runs = |v: Vec<f32>| {
        let r: Vec<f32> = v.chunks(16).map(|r| r.iter().sum()).collect();
        (r[0] + r[1]) + r[2]
    };
    let want: Vec<f32> = (0..3).map(|c| runs(x.iter().skip(c).step_by(3).copied().collect())).collect();
    assert_eq!(to_f32s(&data[1]), want);
    let maxima = x.chunks(3).map(|r| r[0].max(r[1]).max(r[2])).collect();
    assert_eq!(to_f32s(&data[2]), [runs(maxima)]);
}

/// out[m, n] = relu(sum over k of x[m, k] w[n, k] + b[n])
pub fn linear_relu(m: u64, n: u64, k: u64) -> Kernel {
    let at =
        |first: i64, axis: u32| Index::axis(AxisId(axis)).scale(first).plus_index(&Index::axis(AxisId(2)));
    let operand = |arg: u32, index: Index| {
        let mut b = BodyBuilder::new(&[], &[m, n, k]);
        let value = b.load(ArgId(arg), DType::F32, index);
        Operand { exprs: b.finish().exprs, value }
    };
    let mut e = BodyBuilder::new(&[m], &[n]);
    let p = e.product(DType::F32);
    let bias = e.load(ArgId(2), DType::F32, Index::axis(AxisId(1)));
    let z = e.prim(Prim::Add, &[p, bias]);
    let zero = e.float(DType::F32, 0.0);
    let a = e.prim(Prim::Max, &[z, zero]);
    e.store(ArgId(3), Index::row_major(AxisId(0), &[m, n]), a);
    let axis = |extent| vec![Axis { extent }];
    let c = Contraction {
        batch: vec![],
        m: axis(m),
        n: axis(n),
        k: axis(k),
        lhs: operand(0, at(k as i64, 0)),
        rhs: operand(1, at(k as i64, 1)),
        acc: DType::F32,
        rounding: Rounding::Canonical,
        epilogue: e.finish(),
    };
    let args = vec![
        arg("x", m * k, Mode::Read),
        arg("w", n * k, Mode::Read),
        arg("b", n, Mode::Read),
        arg("a", m * n, Mode::Write),
    ];
    kernel("linear_relu", args, Kind::Contract(c))
}

#[test]
fn contraction_in_chunks() {
    let (m, n) = (3usize, 2usize);
    for k in [0usize, 1, 255, 256, 257, 600] {
        let (x, w, b) = (numbers(m * k), numbers(n * k), [0.5f32, -300.0]);
        let mut data = [f32s(&x), f32s(&w), f32s(&b), vec![0; 4 * m * n]];
        run_kernel(&linear_relu(m as u64, n as u64, k as u64), &mut data).unwrap();
        for i in 0..m {
            for j in 0..n {
                let mut total = 0.0;
                for first in (0..k).step_by(256) {
                    let mut c = 0.0;
                    for p in first..k.min(first + 256) {
                        c = x[i * k + p].mul_add(w[j * k + p], c);
                    }
                    total = if first == 0 { c } else { total + c };
                }
                let want = (total + b[j]).max(0.0);
                assert_eq!(to_f32s(&data[3])[i * n + j], want, "k = {k}");
            }
        }
    }
}

/// y[i] = table[index[i]]
pub fn gather(n: u64, table: u64, wrap: bool) -> Kernel {
    let mut b = BodyBuilder::new(&[], &[n]);
    let i = b.load(ArgId(0), DType::I32, Index::axis(AxisId(0)));
    let at = Index::term(1, Atom::Data(i, Bound { extent: table, wrap }));
    let v = b.load(ArgId(1), DType::F32, at);
    b.store(ArgId(2), Index::axis(AxisId(0)), v);
    let args = vec![
        Arg::new("index", DType::I32, n, Mode::Read),
        arg("table", table, Mode::Read),
        arg("y", n, Mode::Write),
    ];
    kernel("gather", args, Kind::Loop(b.finish()))
}

#[test]
fn indices_out_of_range_are_clamped_and_recorded() {
    let indices = |v: [i32; 4]| v.iter().flat_map(|i| i.to_le_bytes()).collect::<Vec<u8>>();
    let run = |v, wrap| {
        let mut data = [indices(v), f32s(&[10.0, 11.0, 12.0]), vec![0; 16]];
        let fault = run_kernel(&gather(4, 3, wrap), &mut data).unwrap();
        (to_f32s(&data[2]), fault)
    };
    let (y, fault) = run([0, 2, 1, 0], false);
    assert_eq!((y, fault), (vec![10.0, 12.0, 11.0, 10.0], FaultRecord::default()));
    let (y, fault) = run([0, 3, -7, 0], false);
    assert_eq!(y, [10.0, 12.0, 10.0, 10.0]);
    assert_eq!(fault, FaultRecord { site: 1, value: 3, call: 0 });
    let (y, fault) = run([-1, -3, 2, -4], true);
    assert_eq!(y, [12.0, 10.0, 12.0, 10.0]);
    assert_eq!((fault.site, fault.value), (1, -4));
    let sites = gather(4, 3, false).fault_sites();
    assert_eq!((sites.len(), sites[0].arg), (1, ArgId(1)));
}

/// out[label[i]] += v[i], where label[i] != 255
pub fn scatter(n: u64, out: u64, init: Init) -> Kernel {
    let mut b = BodyBuilder::new(&[], &[n]);
    let i = b.load(ArgId(0), DType::U8, Index::axis(AxisId(0)));
    let v = b.load(ArgId(1), DType::F32, Index::axis(AxisId(0)));
    let ignore = b.int(DType::U8, 255);
    let guard = b.prim(Prim::Ne, &[i, ignore]);
    let s = Scatter {
        body: b.finish(),
        value: v,
        index: Index::term(1, Atom::Data(i, Bound { extent: out, wrap: false })),
        guard: Some(guard),
        dest: ArgId(2),
        init,
        op: RedOp::Sum,
        prov: 0,
    };
    let mode = if init == Init::Zero { Mode::Write } else { Mode::ReadWrite };
    let args = vec![Arg::new("i", DType::U8, n, Mode::Read), arg("v", n, Mode::Read), arg("out", out, mode)];
    kernel("scatter", args, Kind::ScatterAdd(s))
}

#[test]
fn scatter_adds_in_source_order() {
    for init in [Init::Zero, Init::Existing] {
        let v = [1e8f32, 1.0, -1e8, 5.0, 0.25, 9.0];
        let mut data = [vec![1, 1, 1, 0, 1, 255], f32s(&v), f32s(&[100.0; 3])];
        let fault = run_kernel(&scatter(6, 3, init), &mut data).unwrap();
        assert_eq!(fault.site, 0);
        let start = if init == Init::Zero { 0.0 } else { 100.0 };
        let one = (((start + 1e8f32) + 1.0) - 1e8) + 0.25;
        assert_eq!(to_f32s(&data[2]), [start + 5.0, one, start]);
    }
}

#[test]
fn broken_kernels_are_found() {
    let mut k = softmax(2, 3);
    let Kind::Loop(body) = &mut k.kind else { panic!() };
    body.stores[0].index.offset = 1;
    let e = run_kernel(&k, &mut [f32s(&numbers(6)), vec![0; 24]]).unwrap_err();
    assert!(e.0.contains("L6"), "{e}");
    let mut k = softmax(2, 3);
    k.args[0].mode = Mode::Write;
    let e = run_kernel(&k, &mut [f32s(&numbers(6)), vec![0; 24]]).unwrap_err();
    assert!(e.0.contains("before it is written"), "{e}");
}

/// x -> softmax -> t -> softmax -> y, t a temporary.
/// Two gathers of different sizes as one kernel.
pub fn segments() -> Kernel {
    let (a, b) = (gather(4, 3, true), gather(5, 7, false));
    let mut args = vec![];
    let mut list = vec![];
    for (i, k) in [a, b].into_iter().enumerate() {
        let first = args.len() as u32;
        list.push(Segment {
            args: (first..first + k.args.len() as u32).map(ArgId).collect(),
            body: body_of(&k),
        });
        args.extend(k.args.into_iter().map(|a| Arg { name: format!("{}{i}", a.name).into(), ..a }));
    }
    kernel("segments", args, Kind::Segments(list))
}

fn body_of(k: &Kernel) -> LoopBody {
    match &k.kind {
        Kind::Loop(body) => body.clone(),
        _ => panic!("{k}"),
    }
}

pub fn two_softmaxes() -> LoopProgram {
    let buffer = |name: &str, role| Buffer {
        name: name.into(),
        dtype: DType::F32,
        len: 6,
        device: crate::Device::CPU,
        role,
        prov: Prov::infra(),
    };
    let slice = |b| BufferSlice { buffer: BufferId(b), offset: 0, len: 6 };
    let call = |x, y| Call {
        kernel: KernelId(0),
        args: vec![slice(x), slice(y)],
        donates: vec![],
        after: vec![],
        prov: Prov::infra(),
    };
    LoopProgram {
        name: "forward".into(),
        kernels: vec![softmax(2, 3)],
        buffers: vec![buffer("x", Role::Input), buffer("t", Role::Temp), buffer("y", Role::Output)],
        consts: vec![],
        calls: vec![call(0, 1), call(1, 2)],
    }
}

pub fn plan_of(program: LoopProgram) -> Plan {
    let arena = |kind, bytes| Arena { device: crate::Device::CPU, kind, bytes, align: 64 };
    let place = |arena, offset, live: Option<(u32, u32)>| Place {
        arena: ArenaId(arena),
        offset,
        bytes: 24,
        live: live.map(|(a, b)| (CallId(a), CallId(b))),
    };
    Plan {
        program,
        arenas: vec![arena(ArenaKind::Io, 128), arena(ArenaKind::Temp, 64)],
        places: vec![place(0, 0, None), place(1, 0, Some((0, 1))), place(0, 64, None)],
        scratch: vec![0, 0],
    }
}

#[test]
fn plans_equal_programs_and_poison_finds_early_reuse() {
    let program = two_softmaxes();
    let x = f32s(&numbers(6));
    let mut feeds = Feeds::from([(BufferId(0), x.clone())]);
    run_program(&program, &mut feeds).unwrap();
    let mut planned = Feeds::from([(BufferId(0), x)]);
    let mut plan = plan_of(program);
    run_plan(&plan, &mut planned).unwrap();
    assert_eq!(feeds[&BufferId(2)], planned[&BufferId(2)]);
    // The temporary's life ends one call too early.
    plan.places[1].live = Some((CallId(0), CallId(0)));
    let e = run_plan(&plan, &mut planned).unwrap_err();
    assert!(e.0.contains("P2"), "{e}");
    assert!(run_program(&plan.program, &mut Feeds::new()).is_err());
}

#[test]
fn segments_are_their_kernels_one_after_another() {
    let k = segments();
    let Kind::Segments(list) = &k.kind else { panic!() };
    let filled =
        |a: &Arg, by: u8| (0..a.len as usize * a.dtype.size()).map(|i| (i as u8 * 3 + by) % 5).collect();
    let mut all: Vec<Vec<u8>> = k.args.iter().map(|a| filled(a, 1)).collect();
    // Indices far out of range, to see the sites counted on.
    let indices = list[1].args.iter().position(|&a| !k.arg(a).dtype.is_float()).unwrap();
    all[list[1].args[indices].ix()].fill(0x7f);
    let mut alone: Vec<Vec<Vec<u8>>> =
        list.iter().map(|s| s.args.iter().map(|a| all[a.ix()].clone()).collect()).collect();
    let fault = run_kernel(&k, &mut all).unwrap();
    let first_site = k.segment(&list[0]).fault_sites().len() as u64;
    for (s, args) in list.iter().zip(&mut alone) {
        run_kernel(&k.segment(s), args).unwrap();
        let got: Vec<&Vec<u8>> = s.args.iter().map(|a| &all[a.ix()]).collect();
        assert_eq!(got, args.iter().collect::<Vec<_>>());
    }
    assert!(fault.site > first_site || fault.site == 1, "{fault:?}");
}
