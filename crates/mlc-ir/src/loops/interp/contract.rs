//! Contractions in the canonical order R7.

use super::body::{Eval, run_with_products};
use super::for_each_point;
use super::memory::{InterpError, Memory, Slot};
use super::scalar::eval_prim;
use crate::DType;
use crate::loops::body::{Axis, ExprId, count};
use crate::loops::contraction::{Contraction, KC, Operand};
use crate::loops::kernel::FaultRecord;
use crate::loops::scalar::Prim;

pub fn run(
    c: &Contraction,
    slots: &[Slot],
    mem: &mut Memory,
    fault: &mut FaultRecord,
) -> Result<(), InterpError> {
    let [b, m, n, k] = [&c.batch, &c.m, &c.n, &c.k].map(|axes| count(axes) as usize);
    let mut site = 0;
    let lhs = operand(c, &c.lhs, &c.m, c.batch.len(), slots, mem, fault, &mut site)?;
    let rhs = operand(c, &c.rhs, &c.n, c.batch.len() + c.m.len(), slots, mem, fault, &mut site)?;
    let mut products = Vec::with_capacity(b * m * n);
    for bi in 0..b {
        for mi in 0..m {
            let l = &lhs[(bi * m + mi) * k..][..k];
            for ni in 0..n {
                let r = &rhs[(bi * n + ni) * k..][..k];
                products.push(dot(c.acc, l, r));
            }
        }
    }
    run_with_products(&c.epilogue, site, slots, mem, fault, Some(&products))
}

/// An operand's values in row-major order of batch, its own axes, k.
#[expect(clippy::too_many_arguments, reason = "the interpreter's context is spread over five borrows")]
fn operand(
    c: &Contraction,
    operand: &Operand,
    own: &[Axis],
    first_own: usize,
    slots: &[Slot],
    mem: &mut Memory,
    fault: &mut FaultRecord,
    site: &mut u64,
) -> Result<Vec<u64>, InterpError> {
    let body = c.operand_body(operand);
    let mut eval = Eval::new(&body, *site, slots, mem, fault);
    *site = eval.sites_end();
    let needed = needed(operand);
    let extents: Vec<u64> = c.batch.iter().chain(own).chain(&c.k).map(|a| a.extent).collect();
    let (nb, no) = (c.batch.len(), own.len());
    let first_k = c.first_k().ix();
    let mut values = Vec::new();
    for_each_point(&extents, |point| {
        eval.set_point(0, &point[..nb]);
        eval.set_point(first_own, &point[nb..nb + no]);
        eval.set_point(first_k, &point[nb + no..]);
        eval.run(&needed)?;
        values.push(eval.value(operand.value));
        Ok(())
    })?;
    Ok(values)
}

fn needed(operand: &Operand) -> Vec<usize> {
    let mut seen = vec![false; operand.exprs.len()];
    let mut todo: Vec<ExprId> = vec![operand.value];
    while let Some(e) = todo.pop() {
        if !std::mem::replace(&mut seen[e.ix()], true) {
            todo.extend(operand.exprs[e.ix()].operands());
        }
    }
    (0..seen.len()).filter(|&i| seen[i]).collect()
}

/// Chunks of 256: fma ascending from +0; then the chunks' results ascending.
fn dot(acc: DType, l: &[u64], r: &[u64]) -> u64 {
    macro_rules! float {
        ($f:ty, $from:expr) => {{
            let from = $from;
            let mut total: Option<$f> = None;
            for (l, r) in l.chunks(KC as usize).zip(r.chunks(KC as usize)) {
                let mut chunk: $f = 0.0;
                for (&a, &b) in l.iter().zip(r) {
                    chunk = from(a).mul_add(from(b), chunk);
                }
                total = Some(total.map_or(chunk, |t| t + chunk));
            }
            total.unwrap_or(0.0).to_bits()
        }};
    }
    match acc {
        DType::F32 => float!(f32, |bits: u64| f32::from_bits(bits as u32)).into(),
        DType::F64 => float!(f64, f64::from_bits),
        // Integers wrap: their order does not show.
        _ => l.iter().zip(r).fold(0, |sum, (&a, &b)| {
            let p = eval_prim(Prim::Mul, acc, acc, [a, b, 0]);
            eval_prim(Prim::Add, acc, acc, [sum, p, 0])
        }),
    }
}
