//! Lowered programs against the evaluator (values, with tolerance) and against their own plans (bits).

use std::collections::HashMap;

use mlc_diag::Span;
use mlc_ir::eval::{self, Elements, Evaluated, Tensor};
use mlc_ir::graph::{Graph, GraphBuilder, Output, Phase, Prov, Stage, StateWrite, ValueId};
use mlc_ir::loops::interp::{Feeds, run_plan, run_program};
use mlc_ir::loops::{Kind, LoopProgram, Role};
use mlc_ir::op::{Input, Op, ReduceKind, ScalarFn, State};
use mlc_ir::program::StateLayout;
use mlc_ir::testing::{GraphShape, Rng, random_graph};
use mlc_ir::{Binding, DType, Device, Dim, Symbol, Type};

use crate::{Lowered, Place, lower_entry, pipeline};

pub(crate) type Values = HashMap<Symbol, Tensor>;

/// All states of a graph in order of their nodes.
pub(crate) fn layout_of(g: &Graph) -> StateLayout {
    let mut layout = StateLayout::default();
    for id in g.ids() {
        if let Op::State(s) = &g.node(id).op
            && layout.find(&s.path).is_none()
        {
            layout.add(s.path.clone(), &s.ty);
        }
    }
    layout
}

/// Little-endian bytes of a tensor, rounded to its dtype.
fn bytes_of(t: &Tensor) -> Vec<u8> {
    use mlc_ir::loops::Lit;
    let lits: Vec<Lit> = match &t.data {
        Elements::F(v) => v.iter().map(|&x| Lit::float(t.dtype, x)).collect(),
        Elements::I(v) => v.iter().map(|&x| Lit::int(t.dtype, x)).collect(),
        Elements::U(v) => v.iter().map(|&x| Lit::int(t.dtype, x as i64)).collect(),
        Elements::B(v) => v.iter().map(|&x| Lit::bool(x)).collect(),
    };
    lits.iter().flat_map(|l| l.bits.to_le_bytes()[..t.dtype.size()].to_vec()).collect()
}

fn floats_of(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let element = |b: &[u8]| {
        let mut wide = [0; 8];
        wide[..b.len()].copy_from_slice(b);
        mlc_ir::loops::Lit { dtype, bits: u64::from_le_bytes(wide) }.as_f64()
    };
    bytes.chunks_exact(dtype.size()).map(element).collect()
}

pub(crate) fn feeds(program: &LoopProgram, layout: &StateLayout, inputs: &Values, states: &Values) -> Feeds {
    let mut feeds = Feeds::new();
    for (i, b) in program.buffers.iter().enumerate() {
        let tensor = match b.role {
            Role::Input => &inputs[&b.name],
            Role::State(id) => &states[&layout.get(id).unwrap().path],
            _ => continue,
        };
        feeds.insert(mlc_ir::loops::BufferId(i as u32), bytes_of(tensor));
    }
    feeds
}

/// The contents of an output or a state after a run.
fn result(l: &Lowered, layout: &StateLayout, feeds: &Feeds, name: &str) -> Option<Vec<f64>> {
    let found = l.program().buffers.iter().position(|b| match b.role {
        Role::Output => &*b.name == name,
        Role::State(id) => &*layout.get(id).unwrap().path == name,
        _ => false,
    })?;
    let dtype = l.program().buffers[found].dtype;
    Some(floats_of(dtype, &feeds[&mlc_ir::loops::BufferId(found as u32)]))
}

/// Runs the program over separate buffers and over the plan's poisoned arenas; both must agree by bits.
pub(crate) fn run(l: &Lowered, layout: &StateLayout, inputs: &Values, states: &Values) -> Feeds {
    let mut a = feeds(l.program(), layout, inputs, states);
    let mut b = a.clone();
    let text = || crate::plan_text(l);
    run_program(l.program(), &mut a).unwrap_or_else(|e| panic!("{e}\n{}", text()));
    run_plan(&l.plan, &mut b).unwrap_or_else(|e| panic!("planned: {e}\n{}", text()));
    assert_eq!(a, b, "the plan changes results\n{}", text());
    a
}

pub(crate) fn bound(g: &mut Graph) {
    let options = pipeline::Options { place: Place::on(Device::CPU), binding: Binding::new() };
    pipeline::pipeline(&options).verify(true).run(g).unwrap_or_else(|e| panic!("{}: {e}", g.name));
}

fn random_tensor(rng: &mut Rng, ty: &Type) -> Tensor {
    let shape = ty.bound_shape().unwrap();
    let n: usize = shape.iter().product();
    let values: Vec<f64> = (0..n)
        .map(|_| match ty.dtype.is_float() {
            true => (rng.below(33) as f64 - 16.0) / 8.0 + rng.below(100) as f64 / 1024.0,
            false => rng.below(5) as f64 - if ty.dtype == DType::I64 { 2.0 } else { 0.0 },
        })
        .collect();
    Tensor::from_f64(ty.dtype, &shape, &values)
}

pub(crate) fn random_feed(g: &Graph, seed: u64) -> (Values, Values) {
    let mut rng = Rng(seed ^ 0x5eed);
    let (mut inputs, mut states) = (Values::new(), Values::new());
    for id in g.ids() {
        match &g.node(id).op {
            Op::Input(i) => drop(inputs.insert(i.name.clone(), random_tensor(&mut rng, &i.ty))),
            Op::State(s) => drop(states.insert(s.path.clone(), random_tensor(&mut rng, &s.ty))),
            _ => {}
        }
    }
    (inputs, states)
}

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0)
}

/// Holds results against the evaluator, where the evaluator itself is sure: rounding every node or none
/// makes no difference there.
fn check_values(name: &str, g: &Graph, l: &Lowered, layout: &StateLayout, feed: &(Values, Values)) -> usize {
    let (inputs, states) = feed;
    let none = Binding::new();
    let exact = eval::run(g, inputs, states, &none).unwrap_or_else(|e| panic!("{name}: {e}"));
    let rounded = eval::run_rounded(g, inputs, states, &none).unwrap();
    let got = run(l, layout, inputs, states);
    let all = |e: &Evaluated| {
        let writes = e.writes.iter().map(|(k, t)| (k.to_string(), t.clone()));
        let mut all: Vec<(String, Tensor)> = e.outputs.iter().cloned().chain(writes).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let mut compared = 0;
    for ((what, x), (_, y)) in all(&exact).iter().zip(&all(&rounded)) {
        let got = result(l, layout, &got, what).unwrap_or_else(|| panic!("{name}: no {what}"));
        assert_eq!(got.len(), x.len(), "{name}: {what}");
        for (i, ((x, y), z)) in x.to_f64().iter().zip(y.to_f64()).zip(&got).enumerate() {
            if near(*x, y, 1e-4) {
                compared += 1;
                assert!(near(y, *z, 2e-3), "{name}: {what}[{i}] is {z}, not {y}\n{}", crate::plan_text(l));
            }
        }
    }
    compared
}

#[test]
fn random_graphs_agree_with_the_evaluator_and_their_plans() {
    let (mut compared, mut refused) = (0, 0);
    for seed in 0..400 {
        use DType::*;
        let dtypes =
            [vec![F32, F32, I64, Bool], vec![F32, F64, U8], vec![F16, F32, I32], vec![BF16, F32, I8]];
        let dtypes = dtypes[seed as usize % 4].clone();
        let shape = GraphShape { symbols: false, nodes: 6 + seed as usize % 40, dtypes };
        let mut g = random_graph(seed, &shape);
        let (layout, feed) = (layout_of(&g), random_feed(&g, seed));
        bound(&mut g);
        let lowered = lower_entry(&g, &layout);
        // An index into an empty axis, which lowering finds too where it has any elements to read.
        if eval::run(&g, &feed.0, &feed.1, &Binding::new()).is_err() {
            refused += 1;
            continue;
        }
        let l = lowered.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        compared += check_values(&format!("seed {seed}"), &g, &l, &layout, &feed);
    }
    assert!(refused < 20 && compared > 2_000, "{refused} refused, {compared} elements sure");
}

/// A graph that is built by hand, placed on the CPU.
pub(crate) struct Hand {
    pub g: Graph,
}

impl Hand {
    pub fn new() -> Hand {
        let mut g = Graph::new("hand");
        g.stage = Stage::Bound;
        Hand { g }
    }

    pub fn b(&mut self) -> GraphBuilder<'_> {
        GraphBuilder::new(&mut self.g, Prov::NONE).on(Some(Device::CPU))
    }

    pub fn input(&mut self, name: &str, dtype: DType, shape: &[usize]) -> ValueId {
        let ty = Type::new(dtype, shape.iter().map(|&d| Dim::from(d))).on(Device::CPU);
        self.b().op(Input { name: name.into(), ty }, &[]).unwrap()
    }

    pub fn state(&mut self, path: &str, shape: &[usize]) -> ValueId {
        let ty = Type::new(DType::F32, shape.iter().map(|&d| Dim::from(d))).on(Device::CPU);
        self.b().op(State { path: path.into(), ty }, &[]).unwrap()
    }

    pub fn output(&mut self, name: &str, value: ValueId) {
        self.g.outputs.push(Output { name: name.into(), value, weight: None, span: Span::NONE });
    }

    pub fn write(&mut self, state: &str, value: ValueId) {
        self.g.writes.push(StateWrite { state: state.into(), value, span: Span::NONE });
    }

    fn scaled(&mut self, x: ValueId, by: f64) -> ValueId {
        let mut b = self.b();
        let s = b.full_like(x, by).unwrap();
        b.mul(x, s).unwrap()
    }

    pub fn lower(&self) -> (Lowered, StateLayout) {
        mlc_ir::graph::verify(&self.g).unwrap_or_else(|e| panic!("{e}"));
        let layout = layout_of(&self.g);
        (lower_entry(&self.g, &layout).unwrap_or_else(|e| panic!("{e}")), layout)
    }

    /// Lowers and holds against the evaluator.
    pub fn check(&self) -> Lowered {
        let (l, layout) = self.lower();
        let feed = random_feed(&self.g, 1);
        check_values("hand", &self.g, &l, &layout, &feed);
        l
    }
}

/// (maps, row reductions, column reductions, contractions, scatters, copies, segments) among the calls.
fn kinds(l: &Lowered) -> [usize; 7] {
    let mut out = [0; 7];
    for call in &l.program().calls {
        let i = match &l.program().kernel_of(call).kind {
            Kind::Loop(b) if !b.tails.is_empty() => 2,
            Kind::Loop(b) if !b.reds.is_empty() => 1,
            Kind::Loop(_) => 0,
            Kind::Segments(_) => 6,
            Kind::Contract(_) => 3,
            Kind::ScatterAdd(_) => 4,
            Kind::Copy(_) => 5,
        };
        out[i] += 1;
    }
    out
}

#[test]
fn views_and_chains_fold_into_one_kernel() {
    let mut h = Hand::new();
    let x = h.input("x", DType::F32, &[6, 4]);
    let t = h.b().transpose(x, vec![1, 0]).unwrap();
    let r = h.b().reshape(t, [2, 2, 6].map(|n: usize| Dim::from(n)).into_iter().collect()).unwrap();
    let e = h.b().map(ScalarFn::Exp, &[r]).unwrap();
    let y = h.b().mul(e, r).unwrap();
    h.output("y", y);
    let l = h.check();
    assert_eq!(kinds(&l), [1, 0, 0, 0, 0, 0, 0]);
    let Kind::Loop(body) = &l.program().kernels[0].kind else { panic!() };
    let mut affine = true;
    for e in &body.exprs {
        if let mlc_ir::loops::ExprOp::Load(load) = &e.op {
            affine &= load.index.is_affine();
        }
    }
    assert!(affine, "{body:?}");
}

#[test]
fn a_state_is_updated_in_place() {
    let mut h = Hand::new();
    let w = h.state("w", &[8]);
    let x = h.input("x", DType::F32, &[8]);
    let y = h.b().mul(w, x).unwrap();
    let half = h.scaled(x, 0.5);
    let new = h.b().sub(w, half).unwrap();
    h.output("y", y);
    h.write("w", new);
    let l = h.check();
    assert_eq!(kinds(&l), [2, 0, 0, 0, 0, 0, 0]);
    // The reader of the old value comes first, by an edge.
    assert_eq!(l.program().calls[1].after.len(), 1);
    assert_eq!(l.program().calls[1].donates.len(), 1);
}

#[test]
fn swapped_states_swap() {
    let mut h = Hand::new();
    let (a, b) = (h.state("a", &[4]), h.state("b", &[4]));
    h.write("a", b);
    h.write("b", a);
    let l = h.check();
    assert_eq!(kinds(&l), [0, 0, 0, 0, 0, 3, 0]);
}

#[test]
fn a_cycle_of_updates_goes_through_temporaries() {
    let mut h = Hand::new();
    let (a, b, c) = (h.state("a", &[4]), h.state("b", &[4]), h.state("c", &[4]));
    let (x, y, z) = (h.scaled(a, 2.0), h.scaled(b, 3.0), h.scaled(c, 4.0));
    h.write("a", y);
    h.write("b", z);
    h.write("c", x);
    let l = h.check();
    assert_eq!(kinds(&l), [3, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn a_shifted_read_of_the_written_state_is_not_in_place() {
    let mut h = Hand::new();
    let w = h.state("w", &[8]);
    let f = h.b().op(mlc_ir::op::Flip { axes: vec![0] }, &[w]).unwrap();
    let new = h.b().add(w, f).unwrap();
    h.write("w", new);
    let l = h.check();
    assert_eq!(kinds(&l), [1, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn results_may_share_a_value() {
    let mut h = Hand::new();
    let w = h.state("w", &[4]);
    let x = h.input("x", DType::F32, &[4]);
    let y = h.b().add(w, x).unwrap();
    let flat = h.b().reshape(y, [2, 2].map(|n: usize| Dim::from(n)).into_iter().collect()).unwrap();
    h.output("y", y);
    h.output("again", flat);
    h.output("x2", x);
    h.output("old", w);
    h.write("w", y);
    h.check();
}

#[test]
fn mixed_reductions_split() {
    for kind in ReduceKind::ALL {
        let logical = matches!(kind, ReduceKind::And | ReduceKind::Or);
        for axes in
            [vec![0], vec![1], vec![2], vec![3], vec![0, 2], vec![1, 3], vec![0, 1, 3], vec![0, 1, 2, 3]]
        {
            let mut h = Hand::new();
            let x = h.input("x", if logical { DType::Bool } else { DType::F32 }, &[3, 1, 5, 4]);
            let y = h.b().reduce(kind, x, axes).unwrap();
            h.output("y", y);
            h.check();
        }
    }
}

#[test]
fn gathers_scatters_pads_and_concats() {
    let mut h = Hand::new();
    let table = h.state("table", &[5, 3]);
    let i = h.input("i", DType::U8, &[2, 4]);
    let rows = h.b().gather(table, vec![0], &[i], false).unwrap();
    let zero = h.b().scalar(DType::F32, 0.0).unwrap();
    let pad = |n: &[i64]| n.iter().map(|&n| Dim::from(n)).collect::<Vec<_>>();
    let padded = h.b().pad(rows, pad(&[0, 1, 2]), pad(&[1, 0, 0]), zero).unwrap();
    let zeros = h.b().full_like(table, 0.0).unwrap();
    let sums = h.b().scatter_add(zeros, vec![0], &[i], rows, false).unwrap();
    let on_top = h.b().scatter_add(table, vec![0], &[i], rows, false).unwrap();
    let joined = h.b().concat(&[sums, on_top, table], 1).unwrap();
    h.output("padded", padded);
    h.output("joined", joined);
    h.write("table", on_top);
    h.check();
}

/// `log sum exp` cross-entropy of a two-layer perceptron with its gradient by hand (the pipeline's
/// differentiate has tests of its own) and SGD with momentum.
fn step(batch: usize) -> Graph {
    let mut h = Hand::new();
    let x = h.input("image", DType::U8, &[batch, 20]);
    let label = h.input("label", DType::U8, &[batch]);
    let (w1, b1) = (h.state("fc1.weight", &[16, 20]), h.state("fc1.bias", &[16]));
    let (w2, b2) = (h.state("fc2.weight", &[10, 16]), h.state("fc2.bias", &[10]));
    let mut b = h.b();
    let x = b.cast(x, DType::F32).unwrap();
    let s = b.full_like(x, 255.0).unwrap();
    let x = b.div(x, s).unwrap();
    let linear = |b: &mut GraphBuilder<'_>, x, w, bias| {
        let y = b.contract(x, w, vec![], vec![(1, 1)]).unwrap();
        let shape = b.shape(y);
        let bias = b.broadcast_to(bias, &shape).unwrap();
        b.add(y, bias).unwrap()
    };
    let h1 = linear(&mut b, x, w1, b1);
    let zero = b.full_like(h1, 0.0).unwrap();
    let a = b.map(ScalarFn::Max, &[h1, zero]).unwrap();
    let z = linear(&mut b, a, w2, b2);
    let zs = b.shape(z);
    let max = b.reduce(ReduceKind::Max, z, vec![1]).unwrap();
    let max = b.unreduce(max, &zs, &[1]).unwrap();
    let z = b.sub(z, max).unwrap();
    let e = b.map(ScalarFn::Exp, &[z]).unwrap();
    let sum = b.sum(e, vec![1]).unwrap();
    let log = b.map(ScalarFn::Log, &[sum]).unwrap();
    let index = b.iota(DType::I64, [Dim::from(batch)].into_iter().collect(), 0).unwrap();
    let label = b.cast(label, DType::I64).unwrap();
    let picked = b.gather(z, vec![0, 1], &[index, label], false).unwrap();
    let loss = b.sub(log, picked).unwrap();
    let loss = b.sum_all(loss).unwrap();
    let n = b.scalar(DType::F32, batch as f64).unwrap();
    let loss = b.div(loss, n).unwrap();
    let mut b = h.b().phase(Phase::Backward);
    let sums = b.unreduce(sum, &zs, &[1]).unwrap();
    let p = b.div(e, sums).unwrap();
    let classes = b.iota(DType::I64, zs.clone(), 1).unwrap();
    let labels = b.unreduce(label, &zs, &[1]).unwrap();
    let hit = b.map(ScalarFn::Eq, &[classes, labels]).unwrap();
    let hit = b.cast(hit, DType::F32).unwrap();
    let dz = b.sub(p, hit).unwrap();
    let n = b.full_like(dz, batch as f64).unwrap();
    let dz = b.div(dz, n).unwrap();
    let da = b.contract(dz, w2, vec![], vec![(1, 0)]).unwrap();
    let positive = b.map(ScalarFn::Lt, &[zero, h1]).unwrap();
    let dh = b.select(positive, da, zero).unwrap();
    let dw2 = b.contract(dz, a, vec![], vec![(0, 0)]).unwrap();
    let dw1 = b.contract(dh, x, vec![], vec![(0, 0)]).unwrap();
    let (db1, db2) = (b.sum(dh, vec![0]).unwrap(), b.sum(dz, vec![0]).unwrap());
    let params =
        [("fc1.weight", w1, dw1), ("fc1.bias", b1, db1), ("fc2.weight", w2, dw2), ("fc2.bias", b2, db2)];
    for (name, p, g) in params {
        let shape: Vec<usize> = h.g.ty(p).bound_shape().unwrap();
        let path = format!("optimizer.m.{name}");
        let m = h.state(&path, &shape);
        let decayed = h.scaled(m, 0.9);
        let mut b = h.b().phase(Phase::Update);
        let m = b.add(decayed, g).unwrap();
        let step = h.scaled(m, 0.5);
        let new = h.b().phase(Phase::Update).sub(p, step).unwrap();
        h.write(&path, m);
        h.write(name, new);
    }
    h.output("loss", loss);
    h.g
}

#[test]
fn momentum_sgd_trains_in_the_plan_interpreter() {
    let graphs = [step(64), step(32)];
    let layout = layout_of(&graphs[0]);
    let lowered: Vec<Lowered> = graphs.iter().map(|g| lower_entry(g, &layout).unwrap()).collect();
    let mut rng = Rng(3);
    let mut states = Values::new();
    for slot in layout.slots() {
        let id =
            graphs[0].ids().find(|&n| matches!(&graphs[0].node(n).op, Op::State(s) if s.path == slot.path));
        let ty = graphs[0].node(id.unwrap()).results[0].clone();
        let mut t = random_tensor(&mut rng, &ty);
        if let Elements::F(v) = &mut t.data {
            let momentum = slot.path.starts_with("optimizer");
            v.iter_mut().for_each(|x| *x *= if momentum { 0.0 } else { 0.1 });
        }
        states.insert(slot.path.clone(), t);
    }
    // A class is the position of a bright patch.
    let mut losses = vec![];
    for i in 0..32 {
        // Every epoch ends with a batch of 32: another plan over the same states.
        let which = usize::from(i % 4 == 3);
        let (g, l, n) = (&graphs[which], &lowered[which], [64, 32][which]);
        let labels: Vec<usize> = (0..n).map(|_| rng.below(10)).collect();
        let pixel = |l: usize, j: usize, noise: usize| if j / 2 == l { 200 + noise } else { noise };
        let image: Vec<f64> = labels
            .iter()
            .flat_map(|&l| (0..20).map(move |j| (l, j)))
            .map(|(l, j)| pixel(l, j, 0) as f64)
            .collect();
        let labels: Vec<f64> = labels.iter().map(|&l| l as f64).collect();
        let inputs = Values::from([
            ("image".into(), Tensor::from_f64(DType::U8, &[n, 20], &image)),
            ("label".into(), Tensor::from_f64(DType::U8, &[n], &labels)),
        ]);
        let after = run(l, &layout, &inputs, &states);
        losses.push(result(l, &layout, &after, "loss").unwrap()[0]);
        let want = eval::run_rounded(g, &inputs, &states, &Binding::new()).unwrap();
        assert!(near(want.output("loss").unwrap().to_f64()[0], losses[i], 1e-4));
        for (path, t) in &want.writes {
            let got = result(l, &layout, &after, path).unwrap();
            assert!(t.to_f64().iter().zip(&got).all(|(a, b)| near(*a, *b, 1e-4)), "{path} in step {i}");
            states.insert(path.clone(), Tensor::from_f64(t.dtype, &t.shape, &got));
        }
    }
    let mean = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
    assert!(mean(&losses[28..]) < 0.2 * mean(&losses[..4]), "{losses:?}");
}

#[test]
fn kernels_of_a_perceptron_step() {
    let g = step(64);
    let layout = layout_of(&g);
    let l = lower_entry(&g, &layout).unwrap();
    // The input; the softmax and one bias gradient; contractions; bias updates and the loss as segments.
    assert_eq!(kinds(&l), [1, 0, 2, 5, 0, 0, 1], "{}", crate::plan_text(&l));
    let copies = l.decisions.iter().filter(|d| d.verdict == "copied").count();
    assert_eq!(copies, 0, "every state is updated in place");
}

#[test]
fn equal_layers_share_kernels() {
    let mut h = Hand::new();
    let mut x = h.input("x", DType::F32, &[4, 8]);
    for i in 0..5 {
        let w = h.state(&format!("{i}.weight"), &[8, 8]);
        let mut b = h.b();
        let y = b.contract(x, w, vec![], vec![(1, 1)]).unwrap();
        x = b.map(ScalarFn::Tanh, &[y]).unwrap();
    }
    h.output("y", x);
    let l = h.check();
    assert_eq!((l.program().kernels.len(), l.program().calls.len()), (1, 5));
}
