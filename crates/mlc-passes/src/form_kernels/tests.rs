//! Fused and unfused programs give the same bits.

use std::collections::BTreeMap;

use mlc_ir::DType;
use mlc_ir::DType::F32;
use mlc_ir::eval;
use mlc_ir::graph::Graph;
use mlc_ir::loops::interp::Feeds;
use mlc_ir::loops::{LoopProgram, Role};
use mlc_ir::op::{ReduceKind, ScalarFn};
use mlc_ir::program::StateLayout;
use mlc_ir::testing::{GraphShape, random_graph};

use crate::lower::tests::{Hand, Values, bound, layout_of, random_feed, run};
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
        use DType::{BF16, Bool, F16, F64, I8, I32, I64, U8};
        let dtypes =
            [vec![F32, F32, I64, Bool], vec![F32, F64, U8], vec![F16, F32, I32], vec![BF16, F32, I8]];
        let dtypes = dtypes[seed as usize % 4].clone();
        let shape = GraphShape { symbols: false, nodes: 6 + seed as usize % 60, dtypes, loops: 0 };
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

/// Softmax and a normalisation of each row, and a sum over columns of both.
fn rows_and_columns(rows: usize, cols: usize) -> Hand {
    let mut h = Hand::new();
    let x = h.input("x", F32, &[rows, cols]);
    let mut b = h.b();
    let shape = b.shape(x);
    let max = b.reduce(ReduceKind::Max, x, vec![1]).unwrap();
    let max = b.unreduce(max, &shape, &[1]).unwrap();
    let d = b.sub(x, max).unwrap();
    let e = b.map(ScalarFn::Exp, &[d]).unwrap();
    let sum = b.sum(e, vec![1]).unwrap();
    let sum = b.unreduce(sum, &shape, &[1]).unwrap();
    let p = b.div(e, sum).unwrap();
    let mean = b.sum(p, vec![1]).unwrap();
    let mean = b.unreduce(mean, &shape, &[1]).unwrap();
    let c = b.sub(p, mean).unwrap();
    let q = b.mul(c, c).unwrap();
    let columns = b.sum(q, vec![0]).unwrap();
    let best = b.reduce(ReduceKind::ArgMax, x, vec![1]).unwrap();
    for (name, v) in [("p", p), ("q", q), ("columns", columns), ("best", best)] {
        h.output(name, v);
    }
    h
}

#[test]
fn sizes_at_the_edges_of_trees_change_nothing() {
    for rows in [0, 1, 15, 16, 17, 33] {
        for cols in [1, 2, 255, 256, 257, 4097] {
            let h = rows_and_columns(rows, cols);
            let layout = layout_of(&h.g);
            let feed = random_feed(&h.g, (rows * 31 + cols) as u64);
            let (_, kernels) = check(&format!("{rows} x {cols}"), &h.g, &layout, &feed);
            if rows > 1 && cols > 1 {
                assert_eq!(kernels, 1, "{rows} x {cols}");
            }
        }
    }
}

/// R9: a row's result does not depend on where the row is.
#[test]
fn permuted_rows_give_permuted_rows() {
    let (rows, cols) = (19, 257);
    let h = rows_and_columns(rows, cols);
    let layout = layout_of(&h.g);
    let (inputs, states) = random_feed(&h.g, 7);
    let l = lowered(&h.g, &layout, true);
    let order: Vec<usize> = (0..rows).map(|i| (i * 7 + 3) % rows).collect();
    let x = inputs["x"].to_f64();
    let moved: Vec<f64> = order.iter().flat_map(|&r| x[r * cols..(r + 1) * cols].to_vec()).collect();
    let mut permuted = inputs.clone();
    permuted.insert("x".into(), eval::Tensor::from_f64(F32, &[rows, cols], &moved));
    let a = results(l.program(), &run(&l, &layout, &inputs, &states));
    let b = results(l.program(), &run(&l, &layout, &permuted, &states));
    for name in ["p", "q"] {
        let row =
            |all: &BTreeMap<String, Vec<u8>>, r: usize| all[name][r * cols * 4..(r + 1) * cols * 4].to_vec();
        for (to, &from) in order.iter().enumerate() {
            assert_eq!(row(&b, to), row(&a, from), "{name}: row {from}");
        }
    }
}

#[test]
fn every_value_that_passes_between_kernels_has_a_reason() {
    let h = rows_and_columns(8, 16);
    let l = lowered(&h.g, &layout_of(&h.g), true);
    assert!(l.decisions.iter().any(|d| d.verdict == "fused"), "{:?}", l.decisions);
    let single = lowered(&h.g, &layout_of(&h.g), false);
    let apart = single.decisions.iter().filter(|d| d.verdict == "not fused").count();
    assert!(apart >= 10, "{apart}");
}

/// The sum of so many norms is one kernel, built without a stack as deep as the chain is long.
#[test]
fn a_long_chain_of_numbers_is_one_kernel() {
    let mut h = Hand::new();
    let mut sum = h.state("0", &[]);
    for i in 1..2000 {
        let x = h.state(&i.to_string(), &[]);
        sum = h.b().add(sum, x).unwrap();
    }
    let root = h.b().map(ScalarFn::Sqrt, &[sum]).unwrap();
    h.output("y", root);
    let l = h.check();
    assert_eq!((l.program().kernels.len(), l.program().calls.len()), (1, 1));
}

/// A value that is two results is stored twice by the kernel that makes it; a product that is only stored is copied.
#[test]
fn one_kernel_stores_equal_results() {
    let mut h = Hand::new();
    let (x, w) = (h.input("x", F32, &[4, 8]), h.state("w", &[8, 8]));
    let mut b = h.b();
    let (y, s) = (b.map(ScalarFn::Exp, &[x]).unwrap(), b.reduce(ReduceKind::Sum, x, vec![0]).unwrap());
    let z = b.contract(x, w, vec![], vec![(1, 0)]).unwrap();
    for (name, v) in [("y", y), ("again", y), ("s", s), ("s_again", s), ("z", z), ("z_again", z)] {
        h.output(name, v);
    }
    let l = h.check();
    let copies = l.decisions.iter().filter(|d| d.verdict == "copied").count();
    assert_eq!(copies, 1, "{:?}", l.decisions);
}
