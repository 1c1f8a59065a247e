//! Passes keep the values of random graphs, bit for bit but for the bits of a NaN.

use std::collections::HashMap;

use mlc_ir::eval::{Elements, Evaluated, Tensor, run_rounded};
use mlc_ir::graph::{Graph, verify};
use mlc_ir::op::Op;
use mlc_ir::testing::{GraphShape, Rng, random_graph};
use mlc_ir::types::DTypeKind;
use mlc_ir::{Binding, Device, Symbol, Type};

use crate::{Bind, Cse, Dce, Differentiate, Pass, PassManager, Place, Simplify, Sink, crossings, pipeline};

/// Values that tell apart what is not the same: special ones among ordinary ones.
fn tensor(ty: &Type, binding: &Binding, rng: &mut Rng) -> Tensor {
    let shape: Vec<usize> = ty.shape.iter().map(|d| d.eval(binding).unwrap() as usize).collect();
    let special = [0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40, 3e38];
    let mut value = || match (ty.dtype.kind(), rng.below(4)) {
        (DTypeKind::Float, 0) => *rng.pick(&special),
        (DTypeKind::Float, _) => f64::from((rng.below(2000) as f32 - 1000.0) / 128.0),
        (DTypeKind::Bool, _) => rng.below(2) as f64,
        (DTypeKind::Int, _) => rng.below(9) as f64 - if ty.dtype.is_signed_int() { 4.0 } else { 0.0 },
    };
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| value()).collect();
    Tensor::from_f64(ty.dtype, &shape, &values)
}

type Fed = (HashMap<Symbol, Tensor>, HashMap<Symbol, Tensor>);

fn feed(g: &Graph, binding: &Binding, rng: &mut Rng) -> Fed {
    let (mut inputs, mut states) = (HashMap::new(), HashMap::new());
    for id in g.ids() {
        match &g.node(id).op {
            Op::Input(op) => drop(inputs.insert(op.name.clone(), tensor(&op.ty, binding, rng))),
            Op::State(op) => drop(states.insert(op.path.clone(), tensor(&op.ty, binding, rng))),
            _ => {}
        }
    }
    (inputs, states)
}

fn evaluate(g: &Graph, fed: &Fed, binding: &Binding) -> Evaluated {
    run_rounded(g, &fed.0, &fed.1, binding).unwrap_or_else(|e| panic!("{e:?}\n{g}"))
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    let bits = |x: &f64, y: &f64| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
    let elements = match (&a.data, &b.data) {
        (Elements::F(x), Elements::F(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| bits(x, y)),
        (x, y) => x == y,
    };
    a.dtype == b.dtype && a.shape == b.shape && elements
}

fn check_same(seed: u64, what: &str, before: (&Graph, &Evaluated), after: (&Graph, &Evaluated)) {
    let outputs = before.1.outputs.iter().zip(&after.1.outputs);
    for ((name, a), (_, b)) in outputs {
        assert!(same(a, b), "seed {seed}, {what}, {name}: {a:?} against {b:?}\n{}\n{}", before.0, after.0);
    }
    assert_eq!(before.1.writes.len(), after.1.writes.len());
    for (name, a) in &before.1.writes {
        let b = &after.1.writes[name];
        assert!(same(a, b), "seed {seed}, {what}, {name}: {a:?} against {b:?}\n{}\n{}", before.0, after.0);
    }
}

/// The values of a graph before and after `passes`, under the bindings that each understands.
fn preserves(seed: u64, what: &str, before: &Graph, passes: Vec<Box<dyn Pass>>) -> Graph {
    let binding = Binding::from([("a".into(), 2), ("b".into(), 3)]);
    let mut rng = Rng(seed ^ 0x5eed);
    let fed = feed(before, &binding, &mut rng);
    let mut after = before.clone();
    let ran = PassManager::new(passes).verify(true).run(&mut after);
    ran.unwrap_or_else(|e| panic!("seed {seed}, {what}: {e}\n{before}"));
    let (x, y) = (evaluate(before, &fed, &binding), evaluate(&after, &fed, &binding));
    check_same(seed, what, (before, &x), (&after, &y));
    after
}

fn binding() -> Bind {
    Bind::new(Binding::from([("a".into(), 2), ("b".into(), 3)]))
}

#[test]
fn each_pass_keeps_all_bits() {
    let mut fewer = 0;
    for seed in 0..60 {
        let g = random_graph(seed, &GraphShape { loops: seed as usize % 3 * 8, ..Default::default() });
        verify(&g).unwrap();
        let simple = preserves(seed, "simplify", &g, vec![Box::new(Simplify)]);
        let merged = preserves(seed, "cse", &simple, vec![Box::new(Cse)]);
        let live = preserves(seed, "dce", &merged, vec![Box::new(Dce)]);
        fewer += (live.len() < g.len()) as usize;
        let placed = preserves(seed, "place", &live, vec![Box::new(Place::on(Device::CPU))]);
        let first = preserves(seed, "differentiate", &placed, vec![Box::new(Differentiate)]);
        let bound = preserves(seed, "bind", &first, vec![Box::new(binding())]);
        let sunk = preserves(seed, "sink", &bound, vec![Box::new(Sink)]);
        preserves(seed, "simplify bound", &sunk, vec![Box::new(Simplify), Box::new(Cse), Box::new(Dce)]);
    }
    assert!(fewer > 30, "{fewer}");
}

#[test]
fn the_pipeline_keeps_all_bits_on_several_devices() {
    let mut crossed = 0;
    for seed in 0..60 {
        let mut g = random_graph(seed, &GraphShape { nodes: 30, ..Default::default() });
        let mut rng = Rng(seed);
        // Annotate some values: what a block `on cuda:1 { .. }` leaves.
        for id in g.ids().collect::<Vec<_>>() {
            if rng.chance(4) && !matches!(g.node(id).op, Op::Input(_) | Op::State(_)) {
                let ty = g.ty(id.value()).clone().on(Device::cuda(rng.below(2) as u32));
                g.set_type(id.value(), ty);
            }
        }
        let placed = preserves(seed, "place", &g, vec![Box::new(Place::on(Device::CUDA))]);
        let all = crossings(&placed);
        crossed += all.len();
        let mut once = std::collections::HashSet::new();
        assert!(all.iter().all(|c| once.insert((c.value, c.to))), "seed {seed}: sent twice\n{placed}");
        let sent_back = |c: &&crate::Crossing| matches!(placed.node(c.value.node).op, Op::Transfer(_));
        assert_eq!(all.iter().find(sent_back), None, "seed {seed}: sent on\n{placed}");

        let options = pipeline::Options { place: Place::on(Device::CUDA), binding: binding().binding };
        let fed = feed(&g, &options.binding, &mut Rng(seed));
        let before = evaluate(&g, &fed, &options.binding);
        let mut after = g.clone();
        pipeline::pipeline(&options).verify(true).run(&mut after).unwrap();
        check_same(seed, "pipeline", (&g, &before), (&after, &evaluate(&after, &fed, &Binding::new())));
    }
    assert!(crossed > 60, "{crossed}");
}
