//! The lifetime rule: a kernel does not wait for a late operand if that keeps more alive than it saves.
//!
//! With tied embeddings the gradient of the table is a contraction at the start of the backward part plus a
//! scatter at its end. One kernel for both would hold the contraction's operand, the gradient of all logits,
//! through the whole backward part.

use mlc_ir::graph::NodeId;

use super::units::{Refusal, UnitId, Units};

/// A wait this long is none.
const NEAR: u32 = 64;

/// May the two units become one?
pub fn allows(units: &Units<'_, '_>, a: UnitId, b: UnitId) -> Result<(), Refusal> {
    let shared = shared_bytes(units, a, b);
    for (early, late) in [(a, b), (b, a)] {
        if delay(units, early, late) > NEAR && kept_bytes(units, early, late) > shared {
            return Err(Refusal::Lifetime);
        }
    }
    Ok(())
}

/// How much later `early` would run, as part of one kernel with `late`.
fn delay(units: &Units<'_, '_>, early: UnitId, late: UnitId) -> u32 {
    let needs = units.before(late).into_iter().filter(|&u| u != early).map(|u| units.unit(u).time + 1);
    needs.max().unwrap_or(0).saturating_sub(units.unit(early).time)
}

/// Bytes that `early` reads and that nothing would hold until `late`, but for one kernel.
fn kept_bytes(units: &Units<'_, '_>, early: UnitId, late: UnitId) -> u64 {
    let until = units.unit(late).time;
    let held = |n: NodeId| {
        let users = units.facts.of(n).users.iter().filter_map(|&u| units.of(u));
        users.filter(|&u| u != early).any(|u| units.unit(u).time + NEAR >= until)
    };
    let mut reads: Vec<NodeId> = reads(units, early);
    reads.retain(|&n| !units.facts.is_source(n) && !held(n));
    reads.into_iter().map(|n| units.facts.of(n).bytes).sum()
}

/// Bytes that pass from one unit to the other, or that both read.
fn shared_bytes(units: &Units<'_, '_>, a: UnitId, b: UnitId) -> u64 {
    let (x, y) = (reads(units, a), reads(units, b));
    let passed = |read: &[NodeId], from: UnitId| -> u64 {
        read.iter().filter(|&&n| units.of(n) == Some(from)).map(|&n| 2 * units.facts.of(n).bytes).sum()
    };
    let both: u64 = x.iter().filter(|n| y.contains(n)).map(|&n| units.facts.of(n).bytes).sum();
    passed(&x, b) + passed(&y, a) + both
}

/// What a unit reads from elsewhere.
pub fn reads(units: &Units<'_, '_>, id: UnitId) -> Vec<NodeId> {
    let members = units.unit(id).members.iter();
    let all = members.flat_map(|&m| &units.facts.of(m).uses).map(|u| u.node);
    let mut out: Vec<NodeId> = all.filter(|&n| units.of(n) != Some(id)).collect();
    out.sort_unstable();
    out.dedup();
    out
}
