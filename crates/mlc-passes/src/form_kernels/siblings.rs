//! Step H, siblings: kernels that read one value over the same rows and columns become one, which reads it
//! once: argmax with softmax, the gradients of a layer norm's weight and bias with that of its input.

use mlc_ir::graph::NodeId;

use super::decide::Log;
use super::domain::{fit, join};
use super::lifetime;
use super::units::{Kind, Refusal, UnitId, Units};

/// Readers of a value that are looked at.
const NEAREST: usize = 16;
/// Kernels of the forward and of the backward part merge only if they would run about as soon.
const SOON: u32 = 32;

pub fn siblings(units: &mut Units<'_, '_>, log: &mut Log) {
    for id in values(units) {
        let mut readers: Vec<(UnitId, NodeId)> = vec![];
        let users: Vec<NodeId> = units.facts.of(id).users.iter().copied().take(NEAREST).collect();
        for user in users {
            let Some(unit) = units.of(user) else { continue };
            let u = units.unit(unit);
            if u.kind != Kind::Loop || u.rows.is_none() || readers.iter().any(|r| r.0 == unit) {
                continue;
            }
            let first = readers.iter().copied().find(|&(other, _)| try_merge(units, other, unit).is_ok());
            match first {
                Some((_, with)) => log.fused(units.facts, user, with, "both read one value, row by row"),
                None => readers.push((unit, user)),
            }
        }
    }
}

/// Everything that is read, sources first.
fn values(units: &Units<'_, '_>) -> Vec<NodeId> {
    let facts = units.facts;
    let mut read: Vec<NodeId> = facts.order.iter().flat_map(|&n| &facts.of(n).uses).map(|u| u.node).collect();
    read.sort_unstable_by_key(|&n| (facts.of(n).position, n));
    read.dedup();
    read
}

fn try_merge(units: &mut Units<'_, '_>, a: UnitId, b: UnitId) -> Result<(), Refusal> {
    let (x, y) = (units.unit(a), units.unit(b));
    if (x.points, x.rows) != (y.points, y.rows) {
        return Err(Refusal::Domain);
    }
    if x.forward != y.forward && x.time.abs_diff(y.time) > SOON {
        return Err(Refusal::Later);
    }
    let how = fit(units, a, b)?;
    lifetime::allows(units, a, b)?;
    units.may_join(a, b)?;
    join(units, a, b, how);
    Ok(())
}
