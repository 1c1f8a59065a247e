//! Fused and unfused programs give the same bits.

use std::collections::BTreeMap;

use mlc_ir::DType;
use mlc_ir::eval;
use mlc_ir::graph::Graph;
use mlc_ir::loops::interp::Feeds;
use mlc_ir::loops::{LoopProgram, Role};
use mlc_ir::program::StateLayout;
use mlc_ir::testing::{GraphShape, random_graph};

use crate::lower::tests::{Values, bound, layout_of, random_feed, run};
use crate::{Fusion, Lowered, lower_entry_with};

fn lowered(g: &Graph, layout: &StateLayout, fuse: bool) -> Lowered {
    lower_entry_with(g, layout, &|_| 0, Fusion { fuse }).unwrap_or_else(|e| panic!("fuse {fuse}: {e}\n{g}"))
}

/// Outputs and states by name; a NaN is the same NaN.
fn results(p: &LoopProgram, feeds: &Feeds) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    for (i, b) in p.buffers.iter().enumerate() {
        if matches!(b.role, Role::Output | Role::State(_)) {
            let bytes = &feeds[&mlc_ir::loops::BufferId(i as u32)];
            out.insert(b.name.to_string(), canonical(b.dtype, bytes));
        }
    }
    out
}

fn canonical(dtype: DType, bytes: &[u8]) -> Vec<u8> {
    let size = dtype.size();
    let mut out = bytes.to_vec();
    for e in out.chunks_exact_mut(size).filter(|_| dtype.is_float()) {
        let mut wide = [0u8; 8];
        wide[..size].copy_from_slice(e);
        let lit = mlc_ir::loops::Lit { dtype, bits: u64::from_le_bytes(wide) };
        if lit.as_f64().is_nan() {
            e.fill(0xff);
        }
    }
    out
}

/// Runs both over interpreter and plan; all bits must agree. Calls before and after.
fn check(name: &str, g: &Graph, layout: &StateLayout, feed: &(Values, Values)) -> (usize, usize) {
    let (fused, single) = (lowered(g, layout, true), lowered(g, layout, false));
    let a = run(&fused, layout, &feed.0, &feed.1);
    let b = run(&single, layout, &feed.0, &feed.1);
    let (x, y) = (results(fused.program(), &a), results(single.program(), &b));
    assert_eq!(x, y, "{name}: fusion changes bits\n{g}\n{}", fused.program());
    (single.program().calls.len(), fused.program().calls.len())
}

#[test]
fn fusion_changes_no_bit_of_random_graphs() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..300 {
        use DType::*;
        let dtypes =
            [vec![F32, F32, I64, Bool], vec![F32, F64, U8], vec![F16, F32, I32], vec![BF16, F32, I8]];
        let dtypes = dtypes[seed as usize % 4].clone();
        let shape = GraphShape { symbols: false, nodes: 6 + seed as usize % 60, dtypes };
        let mut g = random_graph(seed, &shape);
        let (layout, feed) = (layout_of(&g), random_feed(&g, seed));
        bound(&mut g);
        if eval::run(&g, &feed.0, &feed.1, &mlc_ir::Binding::new()).is_err() {
            continue;
        }
        let (x, y) = check(&format!("seed {seed}"), &g, &layout, &feed);
        before += x;
        after += y;
    }
    assert!(after * 10 < before * 7 + 10, "{before} calls before, {after} after");
}

#[test]
fn debug_one() {
    let Ok(path) = std::env::var("IR") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    for mut g in mlc_ir::graph::parse_all(&text).unwrap_or_else(|e| panic!("{e}")) {
        crate::PassManager::new(vec![Box::new(crate::Decompose), Box::new(crate::Residuals)])
            .run(&mut g)
            .unwrap();
        println!("{g}");
        let start = std::time::Instant::now();
        let f = super::form_kernels(&g, Fusion::default()).unwrap();
        println!("{:?}", start.elapsed());
        for d in &f.decisions {
            println!("{} {}: {}", d.subject, d.verdict, d.reason);
        }
        for (i, g) in f.groups.iter().enumerate().flat_map(|(i, g)| g.parts.iter().map(move |p| (i, p))) {
            let mut inside: Vec<u32> = g.inside.iter().map(|n| n.0).collect();
            inside.sort();
            let outs: Vec<String> = g.recipe.outs.iter().map(|o| o.value.to_string()).collect();
            println!(
                "K{i} {} outs {} inside {inside:?} reads {:?}",
                g.recipe.name,
                outs.join(" "),
                g.reads.iter().map(|n| n.0).collect::<Vec<_>>()
            );
        }
        println!("{} kernels", f.groups.len());
    }
}
