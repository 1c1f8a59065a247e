//! Every op of the table, lowered and run by the loop interpreter, against the f64 evaluator: its
//! value in every float dtype, and its derivative.

use std::collections::HashMap;

use mlc_diag::Span;
use mlc_ir::eval::{self, Elements, Tensor};
use mlc_ir::graph::{Graph, GraphBuilder, Output, Prov, Region, Stage, ValueId};
use mlc_ir::loops::interp::{Feeds, run_program};
use mlc_ir::loops::{BufferId, Lit, Role};
use mlc_ir::op::{Grad, Gradient, Input, Op, Sample, samples};
use mlc_ir::program::StateLayout;
use mlc_ir::{Binding, DType, Device, Symbol};

use crate::{Pass, PassCx, Place, differentiate, lower_entry};

/// Not in a graph that is lowered, or not on one device.
const GONE: [&str; 6] = ["input", "state", "dim", "grad", "stop_gradient", "transfer"];

type Values = HashMap<Symbol, Tensor>;

fn bytes_of(t: &Tensor) -> Vec<u8> {
    let lits: Vec<Lit> = match &t.data {
        Elements::F(v) => v.iter().map(|&x| Lit::float(t.dtype, x)).collect(),
        Elements::I(v) => v.iter().map(|&x| Lit::int(t.dtype, x)).collect(),
        Elements::U(v) => v.iter().map(|&x| Lit::int(t.dtype, x as i64)).collect(),
        Elements::B(v) => v.iter().map(|&x| Lit::bool(x)).collect(),
    };
    lits.iter().flat_map(|l| l.bits.to_le_bytes()[..t.dtype.size()].to_vec()).collect()
}

fn values_of(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let element = |b: &[u8]| {
        let mut wide = [0; 8];
        wide[..b.len()].copy_from_slice(b);
        Lit { dtype, bits: u64::from_le_bytes(wide) }.as_f64()
    };
    bytes.chunks_exact(dtype.size()).map(element).collect()
}

/// The sample as a graph with its operands as inputs `x0`, `x1`..; and the results.
fn graph_of(sample: &Sample, seed: u64) -> (Graph, Vec<ValueId>, Vec<ValueId>, Values) {
    let mut g = Graph::new(sample.key());
    g.stage = Stage::Placed;
    let mut b = GraphBuilder::new(&mut g, Prov::NONE).on(Some(Device::CPU));
    let (mut operands, mut feeds) = (vec![], Values::new());
    for (i, (o, t)) in sample.operands.iter().zip(sample.inputs(seed)).enumerate() {
        let name: Symbol = format!("x{i}").into();
        let ty = o.ty.clone().on(Device::CPU);
        operands.push(b.op(Input { name: name.clone(), ty }, &[]).expect("an input"));
        feeds.insert(name, t);
    }
    let op = placed(&sample.op);
    let first = b.op(op, &operands).unwrap_or_else(|e| panic!("{}: {e:?}", sample.key())).node;
    let results: Vec<ValueId> = (0..g.node(first).results.len()).map(|i| first.result(i)).collect();
    for &v in &results {
        let ty = g.ty(v).clone().on(Device::CPU);
        g.set_type(v, ty);
    }
    (g, operands, results, feeds)
}

/// An op whose region, if it has one, is placed.
fn placed(op: &Op) -> Op {
    let Some(region) = op.region() else { return op.clone() };
    let mut body = region.graph().clone();
    Place::on(Device::CPU).run(&mut body, &mut PassCx::default()).expect("one device");
    op.with_region(Region::new(body))
}

fn output(g: &mut Graph, name: &str, value: ValueId) {
    g.outputs.push(Output { name: name.into(), value, weight: None, span: Span::NONE });
}

/// Lowers, interprets, and compares each output: within `tolerance(dtype)` of the evaluator's.
fn check(
    what: &str,
    mut g: Graph,
    feeds: &Values,
    rounded: bool,
    tolerance: impl Fn(DType) -> (f64, f64),
) -> Vec<String> {
    let mut wrong = vec![];
    g.stage = Stage::Bound;
    let evaluate = if rounded { eval::run_rounded } else { eval::run };
    let want = evaluate(&g, feeds, &Values::new(), &Binding::new()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let lowered = lower_entry(&g, &StateLayout::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let program = lowered.program();
    let mut memory = Feeds::new();
    for (i, b) in program.buffers.iter().enumerate().filter(|(_, b)| b.role == Role::Input) {
        memory.insert(BufferId(i as u32), bytes_of(&feeds[&*b.name]));
    }
    run_program(program, &mut memory).unwrap_or_else(|e| panic!("{what}: {e}"));
    for (name, tensor) in want.outputs {
        let at = program.buffers.iter().position(|b| b.role == Role::Output && *b.name == *name);
        let at = at.unwrap_or_else(|| panic!("{what}: no output {name}"));
        let got = values_of(tensor.dtype, &memory[&BufferId(at as u32)]);
        let (relative, floor) = tolerance(tensor.dtype);
        let least = match tensor.dtype {
            DType::F32 => 1e-44,
            DType::F16 => 6e-8,
            DType::BF16 => 1e-40,
            _ => 0.0,
        };
        let exact = tensor.to_f64();
        let want = tensor.rounded().to_f64();
        assert_eq!(got.len(), want.len(), "{what}: {name}");
        for (i, ((&g, &w), &e)) in got.iter().zip(&want).zip(&exact).enumerate() {
            let near = (g - e).abs() <= relative * e.abs().max(floor) + least;
            if g != w && !near && !(g.is_nan() && w.is_nan()) {
                let at: Vec<_> = feeds.iter().map(|(n, t)| (n, t.to_f64().get(i).copied())).collect();
                wrong.push(format!("{what}: {name}[{i}] is {g:e}, the evaluator's {e:e}; inputs {at:?}"));
            }
        }
    }
    wrong
}

#[test]
fn lowered_ops_have_the_evaluators_values() {
    let mut wrong = vec![];
    for sample in samples().iter().filter(|s| !GONE.contains(&s.op.name())) {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let floats = sample.operands.iter().any(|o| o.ty.dtype == DType::F32);
            if !floats && dtype != DType::F32 {
                continue;
            }
            let sample = sample.clone().in_dtype(dtype);
            let (mut g, _, results, feeds) = graph_of(&sample, 2);
            results.iter().enumerate().for_each(|(i, &v)| output(&mut g, &format!("y{i}"), v));
            // Sums may cancel: their error is relative to the terms, which are near 1.
            let floor = if sample.error >= 8.0 { 1.0 } else { 0.0 };
            let tolerance = |d: DType| (sample.tolerance(d), floor);
            wrong.extend(check(&format!("{} in {dtype}", sample.key()), g, &feeds, false, tolerance));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lowered_derivatives_have_the_evaluators_values() {
    let mut wrong = vec![];
    for sample in samples().iter().filter(|s| s.smooth > 0 && s.op.gradient() == Gradient::Rule) {
        if GONE.contains(&sample.op.name()) {
            continue;
        }
        let (mut g, operands, results, feeds) = graph_of(sample, 4);
        let mut b = GraphBuilder::new(&mut g, Prov::NONE).on(Some(Device::CPU));
        let square = b.mul(results[0], results[0]).expect("a float");
        let y = b.sum_all(square).expect("a sum");
        let xs = operands.iter().copied().filter(|&x| b.ty(x).dtype.is_float());
        let all: Vec<ValueId> = std::iter::once(y).chain(xs).collect();
        let node = g.add(Op::Grad(Grad { allow_unused: true }), &all, Prov::NONE).expect("grad");
        (1..all.len()).for_each(|i| output(&mut g, &format!("g{i}"), node.result(i - 1)));
        differentiate(&mut g).unwrap_or_else(|e| panic!("{}: {e}", sample.key()));
        wrong.extend(check(&format!("derivative of {}", sample.key()), g, &feeds, true, |_| (2e-4, 1.0)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
