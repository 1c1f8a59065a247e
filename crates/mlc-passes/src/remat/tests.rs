//! Recomputing changes memory and time, never a bit.

use std::collections::BTreeMap;

use mlc_ir::DType;
use mlc_ir::graph::{Graph, GraphBuilder, NodeId, Output, Phase, Prov, ValueId};
use mlc_ir::loops::Role;
use mlc_ir::loops::interp::Feeds;
use mlc_ir::op::{Grad, Input, Op, ScalarFn, State};
use mlc_ir::program::StateLayout;
use mlc_ir::testing::{GraphShape, Rng, random_graph};
use mlc_ir::{Dim, Type};
use rustc_hash::FxHashSet;

use super::{recompute, stored};
use crate::entry::plan;
use crate::lower::tests::{Values, bound, layout_of, random_feed, run};
use crate::{Decompose, Fusion, Lowered, PassManager, lower_entry, lower_entry_within};

/// Results by name: programs of one entry number their buffers differently.
fn results(
    l: &Lowered,
    layout: &StateLayout,
    (inputs, states): &(Values, Values),
) -> BTreeMap<String, Vec<u8>> {
    let after: Feeds = run(l, layout, inputs, states);
    let results = after.into_iter().filter_map(|(id, bytes)| {
        let b = l.program().buffer(id);
        matches!(b.role, Role::Output | Role::State(_)).then(|| (b.name.to_string(), bytes))
    });
    results.collect()
}

fn decomposed(g: &Graph) -> Graph {
    let mut g = g.clone();
    PassManager::new(vec![Box::new(Decompose)]).run(&mut g).unwrap();
    g
}

#[test]
fn any_values_may_be_recomputed() {
    let (mut tried, mut copied) = (0, 0);
    for seed in 0..200 {
        use DType::*;
        let dtypes = [vec![F32, F32, I64, Bool], vec![F32, F64, U8], vec![F16, F32, I32]];
        let shape = GraphShape {
            symbols: false,
            loops: 0,
            nodes: 20 + seed as usize % 40,
            dtypes: dtypes[seed as usize % 3].clone(),
        };
        let mut g = random_graph(seed, &shape);
        let (layout, feed) = (layout_of(&g), random_feed(&g, seed));
        bound(&mut g);
        // The second half plays the backward.
        let ids: Vec<NodeId> = g.topo_order();
        ids.iter().skip(ids.len() / 2).for_each(|&id| g.set_phase(id, Phase::Backward));
        let g = decomposed(&g);
        let Ok(kept) = plan(&g, &layout, &|_| 0, Fusion::default()) else { continue };
        let mut rng = Rng(seed);
        let temps = kept.program().buffers.iter().filter(|b| b.role == Role::Temp);
        let forward = temps.map(|b| NodeId(b.prov.node)).filter(|&n| g.node(n).prov.phase == Phase::Forward);
        let dropped: FxHashSet<NodeId> = forward.filter(|_| rng.chance(2)).collect();
        if dropped.is_empty() {
            continue;
        }
        let again = recompute(&g, &dropped, &stored(kept.program())).unwrap();
        mlc_ir::graph::verify(&again).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let lowered =
            plan(&again, &layout, &|_| 0, Fusion::default()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(results(&kept, &layout, &feed), results(&lowered, &layout, &feed), "seed {seed}");
        tried += 1;
        copied += usize::from(again.len() > g.len());
    }
    assert!(tried > 60 && copied > 30, "{tried} tried, {copied} with copies");
}

/// A deep chain `x = tanh(x @ w)` with its gradients, as outputs: its activations are what the peak is made of.
fn chain(depth: usize, batch: usize, width: usize) -> Graph {
    let mut g = Graph::new("chain");
    let ty = |rows: usize| Type::new(DType::F32, [rows, width].map(|d: usize| Dim::from(d)));
    let source = GraphBuilder::new(&mut g, Prov::NONE).op(Input { name: "x".into(), ty: ty(batch) }, &[]);
    let mut x: ValueId = source.unwrap();
    let mut weights = vec![];
    for i in 0..depth {
        let scope = g.scope(&format!("layers.{i}"));
        let mut b = GraphBuilder::new(&mut g, Prov { scope, ..Prov::NONE });
        let w = b.op(State { path: format!("layers.{i}.weight").into(), ty: ty(width) }, &[]).unwrap();
        let y = b.contract(x, w, vec![], vec![(1, 1)]).unwrap();
        let y = b.map(ScalarFn::Sin, &[y]).unwrap();
        x = b.map(ScalarFn::Tanh, &[y]).unwrap();
        weights.push(w);
    }
    let mut b = GraphBuilder::new(&mut g, Prov::NONE);
    let loss = b.sum_all(x).unwrap();
    let operands: Vec<ValueId> = std::iter::once(loss).chain(weights.iter().copied()).collect();
    let grads = b.op(Op::Grad(Grad { allow_unused: false }), &operands).unwrap();
    for i in 0..depth {
        // One number a gradient, so that the gradients themselves are not what needs the memory.
        let g_i = grads.node.result(i);
        let mut b = GraphBuilder::new(&mut g, Prov::NONE).phase(Phase::Update);
        let value = b.sum_all(g_i).unwrap();
        g.outputs.push(Output { name: format!("g{i}"), value, weight: None, span: mlc_diag::Span::NONE });
    }
    bound(&mut g);
    g
}

fn within(g: &Graph, layout: &StateLayout, limit: u64) -> Lowered {
    lower_entry_within(g, layout, &|_| 0, Fusion::default(), Some(limit)).unwrap()
}

#[test]
fn a_deep_chain_fits_into_less() {
    let g = chain(24, 16, 8);
    let (layout, feed) = (layout_of(&g), random_feed(&g, 3));
    let free = lower_entry(&g, &layout).unwrap();
    let want = results(&free, &layout, &feed);
    let peak = free.memory.total();
    let temps = free.memory.temps[0].live;
    for part in [90, 75, 60] {
        let limit = peak - temps * (100 - part) / 100;
        let l = within(&g, &layout, limit);
        assert!(l.memory.total() <= limit, "{part} %: {} of {limit}, free {peak}", l.memory.total());
        let r = l.recomputed.as_ref().unwrap();
        assert!(r.before == peak && r.after == l.memory.total() && r.ns() > 0.0 && !r.values.is_empty());
        assert_eq!(results(&l, &layout, &feed), want, "{part} %");
    }
    // Without need nothing is recomputed.
    let l = within(&g, &layout, peak);
    assert_eq!((l.recomputed.is_none(), l.memory == free.memory), (true, true));
}

#[test]
fn what_cannot_fit_comes_back_as_it_is() {
    let g = chain(6, 16, 8);
    let layout = layout_of(&g);
    let least = within(&g, &layout, 1);
    assert!(!least.memory.over(1).is_empty());
}
