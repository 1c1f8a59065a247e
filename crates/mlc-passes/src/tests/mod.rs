//! Passes on graphs built in code; what can be written as text stands in tests/cases/passes.

mod cases;
mod random;

use mlc_diag::Span;
use mlc_ir::graph::{Check, Graph, GraphBuilder, Output, Prov, Stage, ValueId, verify};
use mlc_ir::op::{Input, Op, ScalarFn};
use mlc_ir::types::{Fact, Relation};
use mlc_ir::{Binding, DType, Device, Dim, Type};

use crate::{Bind, Cse, Dce, Pass, PassCx, PassManager, Place, Simplify, pipeline};

fn input(b: &mut GraphBuilder, name: &str, ty: Type) -> ValueId {
    b.op(Input { name: name.into(), ty }, &[]).unwrap()
}

fn output(g: &mut Graph, name: &str, value: ValueId) {
    g.outputs.push(Output { name: name.into(), value, weight: None, span: Span::NONE });
}

/// `exp(-(-x) / 4)` and the same again, added.
fn twice() -> Graph {
    let mut g = Graph::new("twice");
    g.dims.declare("batch".into(), Span::NONE, 1);
    let mut b = GraphBuilder::new(&mut g, Prov::NONE);
    let x = input(&mut b, "x", Type::new(DType::F32, [Dim::sym("batch"), Dim::from(3i64)]));
    let branch = |b: &mut GraphBuilder| {
        let n = b.neg(x).unwrap();
        let n = b.neg(n).unwrap();
        let four = b.full_like(n, 4.0).unwrap();
        let q = b.div(n, four).unwrap();
        b.map(ScalarFn::Exp, &[q]).unwrap()
    };
    let (p, q) = (branch(&mut b), branch(&mut b));
    let y = b.add(p, q).unwrap();
    output(&mut g, "y", y);
    g
}

fn count(g: &Graph, f: ScalarFn) -> usize {
    g.ids().filter(|&n| matches!(&g.node(n).op, Op::Elementwise(op) if op.f == f)).count()
}

#[test]
fn the_pipeline_merges_simplifies_and_binds() {
    let mut g = twice();
    verify(&g).unwrap();
    let options =
        pipeline::Options { place: Place::on(Device::CPU), binding: Binding::from([("batch".into(), 7)]) };
    let mut seen = vec![];
    let mut passes = pipeline::pipeline(&options)
        .verify(true)
        .stop_after(Stage::Bound)
        .on_stage(|pass, stage, _| seen.push((pass.to_string(), stage)));
    let report = passes.run(&mut g).unwrap();
    drop(passes);
    assert!(seen.iter().any(|(p, s)| p == "bind" && *s == Some(Stage::Bound)));
    assert_eq!(seen.len(), report.timings.len());
    assert_eq!(g.stage, Stage::Bound);
    assert_eq!((count(&g, ScalarFn::Neg), count(&g, ScalarFn::Div), count(&g, ScalarFn::Exp)), (0, 0, 1));
    assert_eq!((count(&g, ScalarFn::Mul), count(&g, ScalarFn::Add)), (1, 1));
    assert_eq!(g.ty(g.outputs[0].value).bound_shape(), Some(vec![7, 3]));
}

#[test]
fn an_unbound_dim_is_an_error_that_names_it() {
    let errors = Bind::new(Binding::new()).run(&mut twice(), &mut PassCx::default()).unwrap_err();
    assert!(errors.to_string().contains("E0208") && errors.to_string().contains("`batch`"), "{errors}");
}

#[test]
fn facts_and_checks_are_held_against_the_binding() {
    let mut g = twice();
    Place::on(Device::CPU).run(&mut g, &mut PassCx::default()).unwrap();
    g.stage = Stage::Placed;
    let n = Dim::sym("batch");
    let fact = |rel, rhs: i64| Fact { lhs: n.clone(), rel, rhs: Dim::from(rhs), span: Span::NONE };
    g.dims.assume(fact(Relation::Le, 10));
    g.checks
        .push(Check { fact: fact(Relation::Ne, 5), error: mlc_diag::Diagnostic::error("E0201", "not five") });
    let bind = |n: i64| {
        let mut g = g.clone();
        let manager = PassManager::new(vec![Box::new(Bind::new(Binding::from([("batch".into(), n)])))]);
        manager.verify(true).run(&mut g).map(|_| g)
    };
    assert!(bind(6).is_ok_and(|g| g.checks.is_empty()));
    let e = bind(5).unwrap_err();
    assert!(e.0[0].title == "not five" && e.0[0].notes[0].contains("batch = 5"), "{e:?}");
    assert!(bind(11).unwrap_err().to_string().contains("batch <= 10"));
    assert!(bind(0).unwrap_err().to_string().contains("at least 1"));
}

#[test]
fn absurd_sizes_are_an_error() {
    let e = Bind::new(Binding::from([("batch".into(), 1 << 50)])).run(&mut twice(), &mut PassCx::default());
    assert!(e.unwrap_err().to_string().contains("E0210"));
}

#[test]
fn ten_thousand_nodes_and_one_hub_take_linear_time() {
    let mut g = Graph::new("big");
    let mut b = GraphBuilder::new(&mut g, Prov::NONE);
    let x = input(&mut b, "x", Type::new(DType::F32, [Dim::from(4i64)]));
    let mut sum = x;
    for _ in 0..5000 {
        let half = b.full_like(x, 2.0).unwrap();
        let part = b.mul(x, half).unwrap();
        sum = b.add(sum, part).unwrap();
    }
    output(&mut g, "sum", sum);
    assert!(g.len() > 10_000);
    let passes: Vec<Box<dyn Pass>> = vec![Box::new(Simplify), Box::new(Cse), Box::new(Dce)];
    PassManager::new(passes).verify(true).run(&mut g).unwrap();
    // One constant, one broadcast and one product are left beside the sums.
    assert_eq!(g.len(), 5000 + 4);
}
