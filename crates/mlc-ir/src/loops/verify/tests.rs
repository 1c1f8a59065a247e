//! Good kernels pass; each broken one is caught by the rule named.

use super::*;
use crate::loops::interp::tests::{gather, linear_relu, plan_of, scatter, segments, softmax, two_softmaxes};
use crate::loops::*;
use crate::{DType, Device};

fn rules(v: &[Violation]) -> Vec<&str> {
    v.iter().map(|v| v.rule).collect()
}

#[test]
fn good_kernels_pass() {
    let mut inplace = softmax(3, 7);
    inplace.args[1].may_alias = Some(ArgId(0));
    for k in [
        softmax(3, 7),
        softmax(0, 7),
        softmax(4, 0),
        softmax(1, 1),
        inplace,
        linear_relu(3, 4, 5),
        gather(4, 3, true),
        segments(),
        scatter(4, 3, Init::Zero),
        scatter(4, 3, Init::Existing),
    ] {
        assert_eq!(verify_kernel(&k), [], "{}", k.name);
    }
}

fn body(k: &mut Kernel) -> &mut LoopBody {
    match &mut k.kind {
        Kind::Loop(b) => b,
        Kind::Contract(c) => &mut c.epilogue,
        Kind::ScatterAdd(s) => &mut s.body,
        Kind::Segments(_) | Kind::Copy(_) => panic!("no body"),
    }
}

#[track_caller]
fn broken(rule: &str, mut k: Kernel, change: impl FnOnce(&mut Kernel)) {
    change(&mut k);
    let found = verify_kernel(&k);
    assert!(rules(&found).contains(&rule), "{rule}: {found:?}");
}

#[test]
fn each_rule_catches_its_breach() {
    let s = || softmax(3, 7);
    broken("L1", s(), |k| body(k).exprs[2].dtype = DType::F64);
    broken("L1", s(), |k| body(k).exprs.swap(0, 2));
    broken("L2", s(), |k| body(k).stores[0].arg = ArgId(9));
    broken("L2", s(), |k| k.args[0].mode = Mode::Write);
    broken("L2", s(), |k| k.args[1].name = "x".into());
    broken("L2", s(), |k| body(k).stores[0].index.add_term(1, Atom::Axis(AxisId(5))));
    broken("L3", s(), |k| body(k).stores[0].index = Index::axis(AxisId(0)));
    broken("L4", s(), |k| body(k).reds.swap(0, 1));
    broken("L5", s(), |k| {
        k.args[0].mode = Mode::ReadWrite;
        let tail = Tail::Col {
            value: ExprId(0),
            op: RedOp::Sum,
            acc: DType::F32,
            out: ArgId(0),
            index: Index::axis(AxisId(1)),
            prov: 0,
        };
        body(k).tails.push(tail);
    });
    broken("L6", s(), |k| body(k).stores[0].index.offset = 1);
    broken("L6", s(), |k| k.args[0].len = 20);
    broken("L6", gather(4, 3, false), |k| k.args[1].len = 2);
    broken("L7", s(), |k| {
        let mut b = BodyBuilder::resume(std::mem::take(body(k)));
        let zero = b.float(DType::F32, 0.0);
        let guard = b.prim(Prim::Lt, &[zero, ExprId(0)]);
        *body(k) = b.finish();
        body(k).stores[0].guard = Some(guard);
    });
    broken("L8", s(), |k| body(k).reds[0].op = RedOp::And);
    broken("L9", s(), |k| {
        let store = body(k).stores[0].clone();
        body(k).stores.push(store);
    });
    broken("L10", s(), |k| {
        k.args[1].may_alias = Some(ArgId(0));
        let Index { terms, .. } = &mut body(k).stores[0].index;
        terms[1].0 = -1;
        body(k).stores[0].index.offset = 6;
    });
    broken("L11", softmax(1, 3), |k| {
        let mut b = BodyBuilder::new(&[1], &[3]);
        let x = b.load(ArgId(0), DType::F16, Index::axis(AxisId(1)));
        let y = b.reduce(RedOp::Sum, x);
        b.store(ArgId(1), Index::axis(AxisId(1)), y);
        k.args.iter_mut().for_each(|a| a.dtype = DType::F16);
        k.kind = Kind::Loop(b.finish());
    });
    broken("L12", s(), |k| body(k).stores[0].index = Index::axis(AxisId(1)).scale(i64::MAX).plus(i64::MAX));
    broken("L13", linear_relu(3, 4, 5), |k| {
        let Kind::Contract(c) = &mut k.kind else { panic!() };
        std::mem::swap(&mut c.lhs, &mut c.rhs);
    });
    broken("L13", linear_relu(3, 4, 5), |k| body(k).cols[0].extent = 3);
    broken("L14", s(), |k| {
        let mut b = BodyBuilder::resume(std::mem::take(body(k)));
        b.bitcast(DType::U32, ExprId(0));
        *body(k) = b.finish();
    });
    broken("L15", s(), |k| k.prov.clear());
    broken("L15", s(), |k| body(k).exprs[0].prov = 7);
}

#[test]
fn guards_prove_bounds() {
    // A padded, strided window: x[2*c0 + c1 - 1] where 0 <= 2*c0 + c1 - 1 < 8.
    let kernel = |len: u64, guarded: bool| {
        let view = View::dense(&[8]).pad(0, 1, 1, Lit::f32(0.0)).unfold(0, 4, 3, 2, 1);
        let mut b = BodyBuilder::new(&[], &[4, 3]);
        let dims = views::identity(2);
        let v = if guarded {
            view.load(&mut b, ArgId(0), Lit::f32(0.0), &dims)
        } else {
            b.load(ArgId(0), DType::F32, view.index.clone())
        };
        b.store(ArgId(1), Index::row_major(AxisId(0), &[4, 3]), v);
        let args =
            vec![Arg::new("x", DType::F32, len, Mode::Read), Arg::new("y", DType::F32, 12, Mode::Write)];
        Kernel { name: "unfold".into(), args, kind: Kind::Loop(b.finish()), prov: vec![Prov::infra()] }
    };
    assert_eq!(verify_kernel(&kernel(8, true)), []);
    assert_eq!(rules(&verify_kernel(&kernel(7, true))), ["L6"]);
    assert_eq!(rules(&verify_kernel(&kernel(8, false))), ["L6"]);
    // A pad seen through a reshape: the guard speaks of a quotient.
    for size in [5, 100_000] {
        let view = View::dense(&[size, 4]).pad(0, 1, 2, Lit::f32(1.0)).reshape(&[(size + 3) * 4]);
        let mut b = BodyBuilder::new(&[], &view.shape);
        let v = view.load(&mut b, ArgId(0), Lit::f32(0.0), &views::identity(1));
        b.store(ArgId(1), Index::axis(AxisId(0)), v);
        let arg = |name: &str, len, mode| Arg::new(name, DType::F32, len, mode);
        let args = vec![arg("x", size * 4, Mode::Read), arg("y", view.shape[0], Mode::Write)];
        let k = Kernel { name: "pad".into(), args, kind: Kind::Loop(b.finish()), prov: vec![Prov::infra()] };
        assert_eq!(verify_kernel(&k), []);
    }
}

#[test]
fn programs_and_plans() {
    let program = two_softmaxes();
    assert_eq!(verify_program(&program), []);
    let check = |rule: &str, change: &dyn Fn(&mut LoopProgram)| {
        let mut p = program.clone();
        change(&mut p);
        let found = verify_program(&p);
        assert!(rules(&found).contains(&rule), "{rule}: {found:?}");
    };
    check("P1", &|p| p.calls[0].kernel = KernelId(4));
    check("P1", &|p| p.calls[0].after = vec![CallId(1)]);
    check("P2", &|p| p.calls.swap(0, 1));
    check("P2", &|p| p.calls.truncate(1));
    check("P6", &|p| p.buffers[1].dtype = DType::I32);
    check("P6", &|p| p.calls[0].args[0].len = 5);
    check("P7", &|p| p.buffers[0].device = Device::CUDA);
    // t becomes a state that call 0 reads and call 1 overwrites.
    let hazard = |after: Vec<CallId>| {
        let mut p = program.clone();
        p.buffers[0].role = Role::State(StateId(0));
        p.buffers.push(Buffer { name: "in".into(), role: Role::Input, ..p.buffers[1].clone() });
        p.buffers[1].role = Role::Output;
        p.buffers.remove(2);
        p.calls[1].args[0].buffer = BufferId(2);
        p.calls[1].args[1].buffer = BufferId(0);
        p.calls[1].after = after;
        verify_program(&p)
    };
    assert_eq!(rules(&hazard(vec![])), ["P3"]);
    assert_eq!(hazard(vec![CallId(0)]), []);

    let plan = plan_of(program);
    assert_eq!(verify_plan(&plan), []);
    let check = |rule: &str, change: &dyn Fn(&mut Plan)| {
        let mut p = plan.clone();
        change(&mut p);
        let found = verify_plan(&p);
        assert!(rules(&found).contains(&rule), "{rule}: {found:?}");
    };
    check("P4", &|p| p.places[1].offset = 64);
    check("P4", &|p| p.places[1].live = Some((CallId(0), CallId(0))));
    check("P4", &|p| p.places[2].offset = 20);
    check("P5", &|p| p.places[2].offset = 62);
    check("P8", &|p| p.scratch[1] = 8);
}

#[test]
fn segments_share_no_argument() {
    let broken = |change: &dyn Fn(&mut Vec<Segment>)| {
        let mut k = segments();
        let Kind::Segments(list) = &mut k.kind else { panic!() };
        change(list);
        rules(&verify_kernel(&k)).first().map(|r| r.to_string())
    };
    assert_eq!(broken(&|_| {}), None);
    assert_eq!(broken(&|s| s[1].args[0] = s[0].args[0]), Some("L16".into()));
    assert_eq!(broken(&|s| drop(s.pop())), Some("L16".into()));
    // A segment obeys the rules of loop kernels.
    assert_eq!(broken(&|s| s[1].body.stores[0].index.offset = 1), Some("L6".into()));
}
