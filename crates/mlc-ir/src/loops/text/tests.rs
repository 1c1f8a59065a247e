//! Round trips, and texts that are wrong.

use super::*;
use crate::loops::interp::tests::{gather, linear_relu, scatter, segments, softmax, two_softmaxes};
use crate::loops::*;
use crate::{DType, Device};
use mlc_diag::{SourceId, Span};

#[track_caller]
fn round_trip(k: &Kernel) {
    let text = k.to_string();
    match parse_kernel(&text) {
        Ok(back) => assert_eq!(back, *k, "\n{text}"),
        Err(e) => panic!("{e}\n{text}"),
    }
}

#[test]
fn text_is_as_documented() {
    let text = softmax(64, 1000).to_string();
    let want = "\
kernel @softmax(read x: f32[64000], write y: f32[64000]) rows(i0: 64) cols(c0: 1000) {
  !0 = infra %0 \"\" -
  %0: f32 = load x[1000*i0 + c0]
  acc0: f32 = max lanes %0
  %1: f32 = acc0
  %2: f32 = sub %0, %1
  %3: f32 = exp %2
  acc1: f32 = sum lanes %3
  %4: f32 = acc1
  %5: f32 = div %3, %4
  store y[1000*i0 + c0] = %5
}
";
    assert_eq!(text, want);
}

#[test]
fn segments_round_trip() {
    round_trip(&segments());
}

#[test]
fn kernels_round_trip() {
    let mut k = softmax(64, 1000);
    k.args[1].may_alias = Some(ArgId(0));
    k.args[0].align = 64;
    let span = Span { source: SourceId(3), start: 5, end: 19 };
    k.prov.push(Prov { span, scope: "blocks.3.attn".into(), node: 12, phase: Phase::Backward });
    let Kind::Loop(b) = &mut k.kind else { panic!() };
    b.exprs[2].prov = 1;
    b.stores[0].prov = 1;
    b.tails.push(Tail::Col {
        value: ExprId(0),
        op: RedOp::ArgMax,
        acc: DType::F32,
        out: ArgId(1),
        index: Index::axis(AxisId(1)),
        prov: 1,
    });
    b.tails.push(Tail::RowScalar {
        value: ExprId(1),
        op: RedOp::Sum,
        acc: DType::F32,
        out: ArgId(1),
        index: Index::constant(-3),
        prov: 0,
    });
    round_trip(&k);
    let copy = |transfer| Kernel {
        name: "copy.1".into(),
        args: vec![Arg::new("a.b", DType::U8, 6, Mode::Read), Arg::new("_c", DType::U8, 6, Mode::Write)],
        kind: Kind::Copy(CopyMap {
            src: Index::axis(AxisId(0)).scale(-1).plus(5),
            dst: Index::axis(AxisId(0)),
            extents: vec![6],
            transfer,
        }),
        prov: vec![],
    };
    let mut prologue = linear_relu(2, 3, 4);
    let Kind::Contract(c) = &mut prologue.kind else { panic!() };
    c.rounding = Rounding::Free;
    let mut e = BodyBuilder::resume(c.operand_body(&c.lhs));
    c.lhs.value = e.prim(Prim::Neg, &[ExprId(0)]);
    c.lhs.exprs = e.finish().exprs;
    for k in [
        gather(4, 3, true),
        gather(4, 3, false),
        scatter(4, 3, Init::Zero),
        scatter(4, 3, Init::Existing),
        linear_relu(3, 4, 5),
        prologue,
        copy(None),
        copy(Some((Device::CPU, Device::cuda(1)))),
    ] {
        round_trip(&k);
    }
}

#[test]
fn constants_and_indices_round_trip() {
    let mut b = BodyBuilder::new(&[3], &[4]);
    let mut values = Vec::new();
    for d in DType::ALL {
        for x in
            [0.0, -0.0, 1.0, -1.0, 0.1, 1e30, -1e30, 1e-40, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 255.0]
        {
            values.push(b.lit(Lit::float(d, x)));
        }
        values.push(b.lit(Lit { dtype: d, bits: crate::loops::scalar::mask(d) }));
    }
    let i = b.axis_value(AxisId(0));
    let zero = b.int(DType::I64, 0);
    let g = b.prim(Prim::Lt, &[i, zero]);
    let quot =
        |div, modulo| Atom::Quot { of: Box::new(Index::axis(AxisId(1)).scale(-3).plus(7)), div, modulo };
    let mut at = Index::term(-1, quot(4, Some(5)));
    at.add_term(2, quot(1, Some(6)));
    at.add_term(1, quot(9, None));
    at.add_term(-7, Atom::Axis(AxisId(0)));
    at.add_term(1, Atom::Data(i, Bound { extent: 8, wrap: true }));
    let v = b.load_guarded(ArgId(0), at.plus(-9), Some(g), Lit::f32(-1.5));
    b.store_guarded(ArgId(1), Index::constant(0), v, Some(g));
    let args = vec![Arg::new("x", DType::F32, 4, Mode::Read), Arg::new("y", DType::F32, 4, Mode::ReadWrite)];
    round_trip(&Kernel { name: "k".into(), args, kind: Kind::Loop(b.finish()), prov: vec![Prov::infra()] });
}

#[test]
fn programs_round_trip() {
    let mut p = two_softmaxes();
    p.consts.push(Const { dtype: DType::F32, bytes: vec![0, 1, 254, 255].into() });
    let like = p.buffers[0].clone();
    let mut add =
        |name: &str, role, len| p.buffers.push(Buffer { name: name.into(), role, len, ..like.clone() });
    add("w", Role::State(StateId(4)), 6);
    add("c", Role::Const(ConstId(0)), 1);
    p.buffers[1].device = Device::cpu(2);
    p.buffers[1].prov = Prov { span: Span::NONE, scope: "fc1".into(), node: 3, phase: Phase::Update };
    p.calls[1].after = vec![CallId(0)];
    p.calls[1].donates = vec![(ArgId(0), ArgId(1))];
    p.calls[1].args[0] = BufferSlice { buffer: BufferId(1), offset: 2, len: 3 };
    let text = p.to_string();
    assert_eq!(parse_program(&text).unwrap_or_else(|e| panic!("{e}\n{text}")), p, "\n{text}");
}

/// Cut and damaged texts give an error or another kernel, never a panic.
#[test]
fn damaged_texts_do_not_panic() {
    let texts = [
        linear_relu(3, 4, 5).to_string(),
        scatter(4, 3, Init::Zero).to_string(),
        gather(2, 3, true).to_string(),
    ];
    for text in &texts {
        for cut in 0..text.len() {
            let _ = parse_kernel(&text[..cut]);
            let mut damaged = text.clone().into_bytes();
            damaged[cut] = b"%!(9x-"[cut % 6];
            if let Ok(k) = parse_kernel(&String::from_utf8_lossy(&damaged)) {
                let _ = verify_kernel(&k);
            }
        }
    }
    let deep =
        format!("kernel @k(read x: f32[1]) rows() cols(c0: 1) {{ %0: f32 = load x[{}", "((".repeat(100_000));
    assert!(parse_kernel(&deep).is_err());
    let e = parse_kernel("kernel @k() rows()\n cols() {\n  %0: f99 = const 1 }").unwrap_err();
    assert_eq!((e.line, e.message.as_str()), (3, "`f99` is no dtype"));
}
