//! Step P, the forward sweep: maps and reductions join the units that they read.
//!
//! Nodes are visited in order. A node's candidates are the units of its operands, those that it shares most
//! bytes with first; it joins each that it fits and that no cycle, no long wait and no long keeping forbids.
//! Softmax becomes one kernel: the maximum begins a unit, the difference and the exponential join it, the sum
//! joins as its rows are the same, and so does the division.

use mlc_ir::graph::{NodeId, Phase};

use super::decide::Log;
use super::domain::{fit, join};
use super::lifetime;
use super::units::{Kind, Refusal, UnitId, Units};

/// A value of the backward part is computed with the forward part only if it is needed so soon.
const SOON: u32 = 32;

pub fn sweep(units: &mut Units<'_, '_>, log: &mut Log) {
    for at in 0..units.facts.order.len() {
        let id = units.facts.order[at];
        let Some(own) = units.of(id) else { continue };
        if units.unit(own).kind != Kind::Loop {
            continue;
        }
        for read in candidates(units, id) {
            let (Some(own), Some(into)) = (units.of(id), units.of(read)) else { continue };
            if own == into {
                continue;
            }
            match try_join(units, into, own, id) {
                Ok(()) => {
                    log.fused(units.facts, id, read, "it reads what this kernel computes, at the same place")
                }
                Err(why) => log.apart(units.facts, id, read, why),
            }
        }
    }
}

/// The operands that lie in loop units, one for each unit, most shared bytes first.
fn candidates(units: &Units<'_, '_>, id: NodeId) -> Vec<NodeId> {
    let mut shared: Vec<(UnitId, u64, NodeId)> = vec![];
    for u in &units.facts.of(id).uses {
        let Some(unit) = units.of(u.node) else { continue };
        let bytes = units.facts.of(u.node).bytes;
        match shared.iter_mut().find(|s| s.0 == unit) {
            Some(s) => s.1 += bytes,
            None => shared.push((unit, bytes, u.node)),
        }
    }
    shared.sort_by_key(|&(unit, bytes, _)| (std::cmp::Reverse(bytes), unit));
    shared.into_iter().map(|s| s.2).collect()
}

fn try_join(units: &mut Units<'_, '_>, into: UnitId, own: UnitId, id: NodeId) -> Result<(), Refusal> {
    match units.unit(into).kind {
        Kind::Loop => {}
        Kind::Contract => return Err(Refusal::Contraction),
        Kind::Own => return Err(Refusal::Opaque),
    }
    let how = fit(units, into, own)?;
    if waits_for_others(units, into, own) {
        return Err(Refusal::OneValue);
    }
    let forward = units.facts.graph.node(id).prov.phase == Phase::Forward;
    if !forward && units.unit(into).forward && units.needed(id) > units.unit(into).time + SOON {
        return Err(Refusal::Later);
    }
    lifetime::allows(units, into, own)?;
    units.may_join(into, own)?;
    join(units, into, own, how);
    Ok(())
}

/// Would one value make a reduction over a single row wait for another kernel? The partial norms of gradients
/// would become a chain, each adding its own to the sum so far.
fn waits_for_others(units: &Units<'_, '_>, into: UnitId, own: UnitId) -> bool {
    let single = units.unit(into).rows == Some(1) && units.unit(into).points > 1;
    single && units.unit(own).points == 1 && units.before(own).iter().any(|&u| u != into)
}
