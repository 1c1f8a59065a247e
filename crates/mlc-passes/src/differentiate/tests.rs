//! What the expansion does to graphs: nesting, cuts, provenance, devices, errors.

use std::collections::HashMap;

use mlc_diag::Span;
use mlc_ir::eval::{self, Tensor};
use mlc_ir::graph::{Graph, GraphBuilder, NodeId, Output, Phase, Prov, Stage, ValueId};
use mlc_ir::op::{Grad, Input, Op, ScalarFn, StopGradient, Transfer};
use mlc_ir::types::Device;
use mlc_ir::{Binding, DType, Dim, Symbol, Type};

use super::differentiate;

fn input(b: &mut GraphBuilder<'_>, name: &str, ty: Type) -> ValueId {
    b.op(Input { name: name.into(), ty }, &[]).expect("an input")
}

fn scalar(b: &mut GraphBuilder<'_>, name: &str) -> ValueId {
    input(b, name, Type::scalar(DType::F64))
}

fn vector(b: &mut GraphBuilder<'_>, name: &str, dim: Dim) -> ValueId {
    input(b, name, Type::new(DType::F64, [dim]))
}

fn grad(g: &mut Graph, operands: &[ValueId], allow_unused: bool) -> NodeId {
    g.add(Op::Grad(Grad { allow_unused }), operands, Prov::NONE).expect("grad")
}

fn output(g: &mut Graph, name: &str, value: ValueId) {
    g.outputs.push(Output { name: name.into(), value, weight: None, span: Span::NONE });
}

fn value(g: &Graph, name: &str, feeds: &[(&str, Tensor)], binding: &Binding) -> Vec<f64> {
    let feeds: HashMap<Symbol, Tensor> = feeds.iter().map(|(n, t)| ((*n).into(), t.clone())).collect();
    let results = eval::run(g, &feeds, &HashMap::new(), binding).expect("it has a value");
    results.output(name).expect("an output").to_f64()
}

fn at(x: f64) -> [(&'static str, Tensor); 1] {
    [("x", Tensor::scalar(DType::F64, x))]
}

/// One graph with an input x, a y built from it, and its derivative as the output `g`.
fn derivative(build: impl FnOnce(&mut GraphBuilder<'_>, ValueId) -> ValueId) -> Graph {
    let mut g = Graph::new("test");
    let mut b = GraphBuilder::new(&mut g, Prov::NONE);
    let x = scalar(&mut b, "x");
    let y = build(&mut b, x);
    let d = grad(&mut g, &[y, x], false).value();
    output(&mut g, "g", d);
    g
}

#[test]
fn nests_to_any_order() {
    let mut g = Graph::new("test");
    let mut b = GraphBuilder::new(&mut g, Prov::NONE);
    let x = scalar(&mut b, "x");
    let square = b.mul(x, x).expect("mul");
    let mut y = b.mul(square, square).expect("mul");
    for _ in 0..3 {
        y = grad(&mut g, &[y, x], false).value();
    }
    output(&mut g, "g", y);
    differentiate(&mut g).expect("it is a polynomial");
    assert_eq!(value(&g, "g", &at(1.5), &Binding::new()), [36.0]);
    assert_eq!(g.stage, Stage::Differentiated);
    assert!(g.ids().all(|n| !matches!(g.node(n).op, Op::Grad(_))));
}

#[test]
fn is_with_respect_to_the_binding() {
    let mut g = Graph::new("test");
    let mut b = GraphBuilder::new(&mut g, Prov::NONE);
    let x = scalar(&mut b, "x");
    let z = b.mul(x, x).expect("mul");
    let y = b.mul(z, z).expect("mul");
    let both = grad(&mut g, &[y, z, x], false);
    output(&mut g, "by_z", both.result(0));
    output(&mut g, "by_x", both.result(1));
    differentiate(&mut g).expect("a polynomial");
    assert_eq!(value(&g, "by_z", &at(3.0), &Binding::new()), [18.0]);
    assert_eq!(value(&g, "by_x", &at(3.0), &Binding::new()), [108.0]);
}

#[test]
fn by_itself_is_one() {
    let mut g = derivative(|_, x| x);
    differentiate(&mut g).expect("the identity");
    assert_eq!(value(&g, "g", &at(3.0), &Binding::new()), [1.0]);
}

#[test]
fn stop_gradient_is_a_constant_and_goes() {
    let mut g = derivative(|b, x| {
        let stopped = b.op(StopGradient, &[x]).expect("stop");
        b.mul(stopped, x).expect("mul")
    });
    differentiate(&mut g).expect("a product");
    assert_eq!(value(&g, "g", &at(3.0), &Binding::new()), [3.0]);
    assert!(g.ids().all(|n| !matches!(g.node(n).op, Op::StopGradient(_))));
}

#[test]
fn the_derivative_of_a_step_is_zero() {
    let mut g = derivative(|b, x| b.map(ScalarFn::Floor, &[x]).expect("floor"));
    differentiate(&mut g).expect("floor has the derivative 0, as in PyTorch");
    assert_eq!(value(&g, "g", &at(3.5), &Binding::new()), [0.0]);
}

#[test]
fn an_independent_value_is_an_error_or_zero() {
    let mut g = derivative(|b, _| b.scalar(DType::F64, 2.0).expect("a constant"));
    let errors = differentiate(&mut g).expect_err("y does not depend on x");
    assert_eq!(errors.0.iter().map(|d| d.code).collect::<Vec<_>>(), ["E0603"]);

    let mut g = Graph::new("test");
    let mut b = GraphBuilder::new(&mut g, Prov::NONE);
    let (x, unused) = (scalar(&mut b, "x"), vector(&mut b, "unused", Dim::from(2usize)));
    let y = b.mul(x, x).expect("mul");
    let both = grad(&mut g, &[y, x, unused], true);
    output(&mut g, "g", both.result(1));
    differentiate(&mut g).expect("unused values are allowed");
    let feeds = [at(1.0)[0].clone(), ("unused", Tensor::from_f64(DType::F64, &[2], &[1.0, 2.0]))];
    assert_eq!(value(&g, "g", &feeds, &Binding::new()), [0.0, 0.0]);
}

#[test]
fn a_dependence_without_derivative_is_an_error_that_says_where() {
    let mut g = Graph::new("test");
    let mut b = GraphBuilder::new(&mut g, Prov::NONE);
    let x = scalar(&mut b, "x");
    let zero = b.scalar(DType::F64, 0.0).expect("a constant");
    b.prov = Prov::at(Span::new(mlc_diag::SourceId(0), 3, 7));
    let positive = b.map(ScalarFn::Lt, &[zero, x]).expect("a comparison");
    b.prov = Prov::NONE;
    let y = b.cast(positive, DType::F64).expect("a cast");
    let d = grad(&mut g, &[y, x], false).value();
    let outer = grad(&mut g, &[d, x], false).value();
    output(&mut g, "g", outer);
    let errors = differentiate(&mut g).expect_err("only a comparison reaches y");
    let codes: Vec<_> = errors.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["E0604"], "and the outer grad is not blamed too");
    assert!(errors.0[0].labels.iter().any(|l| (l.span.start, l.span.end) == (3, 7)), "{errors:?}");
}

#[test]
fn what_is_not_needed_is_not_made() {
    let mut g = Graph::new("test");
    let mut b = GraphBuilder::new(&mut g, Prov::NONE);
    let n = Dim::sym("n");
    let (x, frozen) = (vector(&mut b, "x", n.clone()), vector(&mut b, "frozen", n));
    let branch = b.map(ScalarFn::Exp, &[frozen]).expect("exp");
    let product = b.mul(x, branch).expect("mul");
    let y = b.sum_all(product).expect("sum");
    let d = grad(&mut g, &[y, x], false).value();
    output(&mut g, "g", d);
    let before = g.len();
    differentiate(&mut g).expect("a product");
    // The seed, its broadcast, one product; less the `grad`.
    assert_eq!(g.len(), before + 3 - 1);
}

#[test]
fn new_nodes_carry_the_primals_place_and_device() {
    let mut g = Graph::new("test");
    g.stage = Stage::Placed;
    let scope = g.scope("blocks.3");
    let span = Span::new(mlc_diag::SourceId(0), 10, 20);
    let mut b = GraphBuilder::new(&mut g, Prov { span, scope, phase: Phase::Forward });
    let (host, card) = (Device::CPU, Device::cuda(1));
    let n = Dim::sym("n");
    let x = input(&mut b, "x", Type::new(DType::F32, [n]).on(host));
    let there = b.op(Transfer { to: card, explicit: true }, &[x]).expect("transfer");
    let square = b.mul(there, there).expect("mul");
    let y = b.sum_all(square).expect("sum");
    let d = grad(&mut g, &[y, x], false).value();
    output(&mut g, "g", d);
    let forward: Vec<NodeId> = g.ids().collect();
    differentiate(&mut g).expect("a square");
    let result = g.outputs[0].value;
    assert_eq!(g.ty(result).device, Some(host));
    assert_eq!(g.node(result.node).op, Op::Transfer(Transfer { to: host, explicit: true }));
    for id in g.ids().filter(|n| !forward.contains(n)) {
        let node = g.node(id);
        assert_eq!((node.prov.phase, node.prov.scope, node.prov.span), (Phase::Backward, scope, span));
        let device = if id == result.node { host } else { card };
        assert_eq!(node.results[0].device, Some(device), "{id} {}", node.op.name());
    }
}

/// A linear layer over a symbolic batch, an embedding and cross terms, against the closed form.
#[test]
fn symbolic_dims_stay_symbolic() {
    let mut g = Graph::new("test");
    let mut b = GraphBuilder::new(&mut g, Prov::NONE);
    let batch = Dim::sym("batch");
    let table = input(&mut b, "table", Type::new(DType::F64, [Dim::from(3usize), Dim::from(2usize)]));
    let ids = input(&mut b, "ids", Type::new(DType::I64, [batch.clone()]));
    let weight = input(&mut b, "weight", Type::new(DType::F64, [Dim::from(4usize), Dim::from(2usize)]));
    let bias = vector(&mut b, "bias", Dim::from(4usize));
    let rows = b.gather(table, vec![0], &[ids], false).expect("gather");
    let product = b.contract(rows, weight, vec![], vec![(1, 1)]).expect("contract");
    let shape = b.shape(product);
    let spread = b.broadcast_to(bias, &shape).expect("broadcast");
    let out = b.add(product, spread).expect("add");
    let y = b.sum_all(out).expect("sum");
    let d = grad(&mut g, &[y, table, weight, bias], false);
    for (i, name) in ["table", "weight", "bias"].into_iter().enumerate() {
        output(&mut g, name, d.result(i));
    }
    differentiate(&mut g).expect("a linear layer");
    assert!(g.checks.is_empty(), "{:?}", g.checks);
    let feeds = [
        ("table", Tensor::from_f64(DType::F64, &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("ids", Tensor::from_f64(DType::I64, &[5], &[0.0, 2.0, 2.0, 0.0, 2.0])),
        ("weight", Tensor::from_f64(DType::F64, &[4, 2], &[1.0, -1.0, 2.0, 0.5, 0.0, 3.0, 1.0, 1.0])),
        ("bias", Tensor::from_f64(DType::F64, &[4], &[0.0; 4])),
    ];
    let binding = Binding::from([("batch".into(), 5)]);
    assert_eq!(value(&g, "table", &feeds, &binding), [8.0, 7.0, 0.0, 0.0, 12.0, 10.5]);
    assert_eq!(value(&g, "weight", &feeds, &binding), [17.0, 22.0].repeat(4));
    assert_eq!(value(&g, "bias", &feeds, &binding), [5.0; 4]);
}

/// The weight gradient of a linear layer lies as the weight does: no transpose of it is made.
#[test]
fn linear_layers_need_no_transposes() {
    for (w, pair) in [([4, 2], (1, 1)), ([2, 4], (1, 0))] {
        let mut g = Graph::new("test");
        let mut b = GraphBuilder::new(&mut g, Prov::NONE);
        let x = input(&mut b, "x", Type::new(DType::F64, [Dim::sym("batch"), Dim::from(2usize)]));
        let w = input(&mut b, "w", Type::new(DType::F64, w.map(|d: usize| Dim::from(d))));
        let out = b.contract(x, w, vec![], vec![pair]).expect("contract");
        let y = b.sum_all(out).expect("sum");
        let d = grad(&mut g, &[y, x, w], false);
        output(&mut g, "x", d.result(0));
        output(&mut g, "w", d.result(1));
        differentiate(&mut g).expect("a linear layer");
        assert!(g.ids().all(|n| !matches!(g.node(n).op, Op::Transpose(_))));
    }
}

#[test]
fn sums_are_made_in_one_order() {
    let build = || {
        let mut g = derivative(|b, x| {
            let parts = [ScalarFn::Sin, ScalarFn::Exp, ScalarFn::Tanh].map(|f| b.map(f, &[x]).expect("f"));
            let sum = b.add(parts[0], parts[1]).expect("add");
            b.add(sum, parts[2]).expect("add")
        });
        differentiate(&mut g).expect("smooth");
        g.topo_order()
            .iter()
            .map(|&n| format!("{n} {:?} {:?}", g.node(n).op, g.node(n).operands))
            .collect::<Vec<_>>()
    };
    let first = build();
    (0..5).for_each(|_| assert_eq!(build(), first));
}
