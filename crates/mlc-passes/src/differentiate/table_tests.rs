//! Derivatives of every op of the table: against finite differences of the f64 evaluator, first and
//! second order, and against PyTorch's.

use std::collections::{BTreeMap, HashMap};

use mlc_ir::eval::{self, Tensor};
use mlc_ir::graph::{Graph, GraphBuilder, Output, Prov, ValueId};
use mlc_ir::op::{Grad, Gradient, Input, OPS, Op, Sample, fingerprint, samples};
use mlc_ir::types::DimFacts;
use mlc_ir::{Binding, DType, Symbol, Type};
use safetensors::SafeTensors;

use super::differentiate;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/ops/ops.safetensors");

/// The application of a sample with its float operands as inputs `x0`, `x1`.. and a scalar made of
/// its results.
struct Harness {
    graph: Graph,
    xs: Vec<(usize, ValueId)>,
    y: ValueId,
    feeds: HashMap<Symbol, Tensor>,
}

fn input(b: &mut GraphBuilder<'_>, name: &str, ty: &Type) -> ValueId {
    b.op(Input { name: name.into(), ty: ty.clone() }, &[]).expect("an input")
}

/// `sum(v * w)` with `w` an input of this name and these values.
fn weigh(
    b: &mut GraphBuilder<'_>,
    feeds: &mut HashMap<Symbol, Tensor>,
    name: &str,
    v: ValueId,
    weight: impl Fn(usize) -> f64,
) -> ValueId {
    let ty = b.ty(v).clone();
    let w = input(b, name, &ty);
    let shape = ty.bound_shape().expect("samples are bound");
    let values: Vec<f64> = (0..shape.iter().product()).map(weight).collect();
    feeds.insert(name.into(), Tensor::from_f64(ty.dtype, &shape, &values));
    let product = b.mul(v, w).expect("one type");
    b.sum_all(product).expect("a sum")
}

impl Harness {
    /// In f64. `None` where there is nothing to differentiate: no float operand or result.
    fn new(sample: &Sample, seed: u64, weight: impl Fn(usize) -> f64) -> Option<Harness> {
        let rounded = sample.inputs(seed);
        let sample = sample.clone().in_dtype(DType::F64);
        let mut graph = Graph::new("test");
        let mut feeds = HashMap::new();
        let mut b = GraphBuilder::new(&mut graph, Prov::NONE);
        let mut operands = vec![];
        for (i, (o, mut tensor)) in sample.operands.iter().zip(rounded).enumerate() {
            let name = format!("x{i}");
            operands.push(input(&mut b, &name, &o.ty));
            tensor.dtype = o.ty.dtype;
            feeds.insert(name.into(), tensor);
        }
        let xs: Vec<(usize, ValueId)> =
            operands.iter().copied().enumerate().filter(|&(_, x)| b.ty(x).dtype.is_float()).collect();
        let result = b.op(sample.op.clone(), &operands).expect("samples are well typed");
        if xs.is_empty() || !b.ty(result).dtype.is_float() {
            return None;
        }
        let y = weigh(&mut b, &mut feeds, "w", result, weight);
        // A cast changes the dtype; the differentiated scalar is f64 all the same.
        let y = b.cast(y, DType::F64).expect("a cast");
        Some(Harness { graph, xs, y, feeds })
    }

    fn grad(&mut self, y: ValueId) -> Vec<ValueId> {
        let operands: Vec<ValueId> = std::iter::once(y).chain(self.xs.iter().map(|x| x.1)).collect();
        let node =
            self.graph.add(Op::Grad(Grad { allow_unused: true }), &operands, Prov::NONE).expect("grad");
        (0..self.xs.len()).map(|i| node.result(i)).collect()
    }

    fn output(&mut self, name: &str, value: ValueId) {
        self.graph.outputs.push(Output {
            name: name.into(),
            value,
            weight: None,
            span: mlc_diag::Span::NONE,
        });
    }

    fn run(&self, feeds: &HashMap<Symbol, Tensor>) -> eval::Evaluated {
        eval::run(&self.graph, feeds, &HashMap::new(), &Binding::new()).expect("it has a value")
    }

    /// d(output `y`) / d(x_i), by differences.
    fn differences(&self, i: usize, output: &str) -> Vec<f64> {
        let name: Symbol = format!("x{i}").into();
        let x = &self.feeds[&name];
        let values = x.to_f64();
        let at = |k: usize, delta: f64| {
            let mut moved = values.clone();
            moved[k] += delta;
            let mut feeds = self.feeds.clone();
            feeds.insert(name.clone(), Tensor::from_f64(x.dtype, &x.shape, &moved));
            self.run(&feeds).output(output).expect("it was added").to_f64()[0]
        };
        // Two steps cancel the error of third order (Richardson): about 1e-11 relative.
        let central = |k, h: f64| (at(k, h) - at(k, -h)) / (2.0 * h);
        let h = 1e-3;
        (0..values.len()).map(|k| (4.0 * central(k, h / 2.0) - central(k, h)) / 3.0).collect()
    }

    fn compare(&self, sample: &Sample, order: u32, output: &str, prefix: &str) {
        let results = self.run(&self.feeds);
        for &(i, _) in &self.xs {
            let got = results.output(&format!("{prefix}{i}")).expect("it was added").to_f64();
            let want = self.differences(i, output);
            for (k, (g, w)) in got.iter().zip(&want).enumerate() {
                let close = (g - w).abs() <= 1e-6 * (1.0 + w.abs());
                assert!(close, "{}, order {order}, operand {i} at {k}: {g}, differences {w}", sample.key());
            }
        }
    }
}

fn waves(i: usize) -> f64 {
    0.3 + (i as f64 * 1.7).sin()
}

#[test]
fn derivatives_agree_with_finite_differences() {
    for sample in samples().iter().filter(|s| s.smooth >= 1 && s.op.gradient() == Gradient::Rule) {
        let Some(mut h) = Harness::new(sample, 3, waves) else { panic!("{}: no floats", sample.key()) };
        let y = h.y;
        let grads = h.grad(y);
        h.output("y", y);
        let xs = h.xs.clone();
        for (&(i, _), &g) in xs.iter().zip(&grads) {
            h.output(&format!("g{i}"), g);
        }
        if sample.smooth < 2 {
            differentiate(&mut h.graph).unwrap_or_else(|e| panic!("{}: {e}", sample.key()));
            h.compare(sample, 1, "y", "g");
            continue;
        }
        // z = sum of all first derivatives, weighted; and its derivatives.
        let mut b = GraphBuilder::new(&mut h.graph, Prov::NONE);
        let mut parts = vec![];
        for (i, &g) in grads.iter().enumerate() {
            parts.push(weigh(&mut b, &mut h.feeds, &format!("v{i}"), g, |k| waves(k + 5 * i + 1)));
        }
        let z = parts.into_iter().reduce(|p, q| b.add(p, q).expect("scalars")).expect("an operand");
        let seconds = h.grad(z);
        h.output("z", z);
        for (&(i, _), &s) in xs.iter().zip(&seconds) {
            h.output(&format!("s{i}"), s);
        }
        differentiate(&mut h.graph).unwrap_or_else(|e| panic!("{}: {e}", sample.key()));
        h.compare(sample, 1, "y", "g");
        h.compare(sample, 2, "z", "s");
    }
}

#[test]
fn every_rule_is_tried_by_a_sample() {
    for row in OPS {
        for s in (row.samples)().iter().filter(|s| s.smooth >= 1) {
            assert_eq!(s.op.gradient(), Gradient::Rule, "{} says it is smooth", s.key());
        }
    }
}

#[test]
fn gradients_are_pytorchs() {
    let bytes = std::fs::read(FIXTURE).expect("the fixture is there");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
    let notes: BTreeMap<String, String> =
        metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let cotangent = |i: usize| ((7 * i) % 5 + 1) as f64 / 4.0;
    let (mut compared, mut differing) = (0, vec![]);
    for sample in samples().iter().filter(|s| s.op.name() != "cast" && s.op.region().is_none()) {
        let key = sample.key();
        if notes.contains_key(&format!("absent {key}")) {
            continue;
        }
        let made_for = notes.get(&format!("fingerprint {key}"));
        assert_eq!(made_for, Some(&fingerprint(&sample.inputs(0))), "{key}: run tests/fixtures/make_ops.py");
        let Some(mut h) = Harness::new(sample, 0, cotangent) else { continue };
        let y = h.y;
        let grads = h.grad(y);
        for (&(i, _), g) in h.xs.clone().iter().zip(grads) {
            h.output(&format!("g{i}"), g);
        }
        differentiate(&mut h.graph).unwrap_or_else(|e| panic!("{key}: {e}"));
        let results = h.run(&h.feeds);
        for &(i, _) in &h.xs {
            let Ok(want) = tensors.tensor(&format!("{key}/g{i}")) else { continue };
            let want: Vec<f64> =
                want.data().chunks_exact(8).map(|b| f64::from_ne_bytes(b.try_into().expect("8"))).collect();
            let got = results.output(&format!("g{i}")).expect("it was added").to_f64();
            let x = h.feeds[&Symbol::from(format!("x{i}"))].to_f64();
            assert_eq!(got.len(), want.len(), "{key}");
            for (k, (&g, &w)) in got.iter().zip(&want).enumerate() {
                let close = (g - w).abs() <= 1e-12 * w.abs().max(1e-300) || (g.is_nan() && w.is_nan());
                if g != w && !close {
                    differing.push(format!("{key}: g{i} at {k} (x = {:e}): {g:e}, PyTorch {w:e}", x[k]));
                }
                compared += 1;
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(compared > 5000, "only {compared} numbers compared");
}

/// A cotangent has the type of its primal for every sample, whatever the dtype.
#[test]
fn cotangents_have_the_types_of_their_primals() {
    for dtype in [DType::F32, DType::F16] {
        for sample in samples().into_iter().filter(|s| s.op.gradient() == Gradient::Rule) {
            let sample = sample.in_dtype(dtype);
            let mut graph = Graph::new("test");
            graph.dims = DimFacts::default();
            let mut b = GraphBuilder::new(&mut graph, Prov::NONE);
            let operands: Vec<ValueId> = sample
                .operands
                .iter()
                .enumerate()
                .map(|(i, o)| input(&mut b, &format!("x{i}"), &o.ty))
                .collect();
            let result = b.op(sample.op.clone(), &operands).expect("well typed");
            if !b.ty(result).dtype.is_float() {
                continue;
            }
            let y = b.sum_all(result).expect("a sum");
            let xs: Vec<ValueId> = operands.iter().copied().filter(|&x| b.ty(x).dtype.is_float()).collect();
            if xs.is_empty() {
                continue;
            }
            let all: Vec<ValueId> = std::iter::once(y).chain(xs.iter().copied()).collect();
            let node = graph.add(Op::Grad(Grad { allow_unused: true }), &all, Prov::NONE).expect("grad");
            for i in 0..xs.len() {
                let value = node.result(i);
                graph.outputs.push(Output {
                    name: format!("g{i}"),
                    value,
                    weight: None,
                    span: mlc_diag::Span::NONE,
                });
            }
            differentiate(&mut graph).unwrap_or_else(|e| panic!("{}: {e}", sample.key()));
            for (out, &x) in graph.outputs.iter().zip(&xs) {
                assert!(graph.ty(out.value).same_but_device(graph.ty(x)), "{}", sample.key());
            }
        }
    }
}
