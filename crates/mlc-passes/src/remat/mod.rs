//! Rematerialisation: computing forward values again in the backward instead of keeping them, where a plan
//! needs more memory than there may be.
//!
//! A feedback edge from the plan to the graph, at most [`ROUNDS`] times (twice where that is not enough): plan, choose what to drop ([`choose`]),
//! copy its nodes before their first later use (`clone`), lower and plan again. Nothing after `decomposed`
//! changes a rounding, so the results are the same bits. The best plan is kept, whether it fits or not.
//!
//! Input: a decomposed graph and its plan. Output: a plan, and what it recomputes.

mod choose;
mod clone;
mod cost;
mod profile;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use mlc_diag::{Diagnostics, Span, bytes};
use mlc_ir::graph::{Graph, NodeId};
use mlc_ir::loops::{ArenaKind, LoopProgram, Role};
use rustc_hash::FxHashSet;

pub use choose::{Choice, choose};
pub use clone::recompute;
pub use cost::Rates;

use crate::plan_memory::grouped;
use crate::{Decision, Lowered};

/// Plans that are made at most.
pub const ROUNDS: usize = 8;

/// What a plan computes twice to need less memory.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recomputed {
    pub values: Vec<RecomputedValue>,
    /// Bytes on the device that was over the limit, all parts: before and with this plan.
    pub before: u64,
    pub after: u64,
}

/// A value that is not kept between the forward and its later use.
#[derive(Debug, Clone, PartialEq)]
pub struct RecomputedValue {
    pub bytes: u64,
    pub name: Arc<str>,
    pub scope: Arc<str>,
    /// The expression that computes it.
    pub span: Span,
    /// An estimate of what computing it again takes.
    pub ns: f64,
}

/// Values of one expression in scopes that differ in numbers only.
#[derive(Debug, Clone, PartialEq)]
pub struct RecomputedRow {
    /// `blocks.*.attn` for several, else the scope itself.
    pub scope: String,
    pub count: usize,
    /// All of them together, as is the time.
    pub bytes: u64,
    pub ns: f64,
    pub name: Arc<str>,
    pub span: Span,
}

impl Recomputed {
    /// An estimate of the time that a run takes longer.
    pub fn ns(&self) -> f64 {
        self.values.iter().map(|v| v.ns).sum()
    }

    /// Most bytes first.
    pub fn rows(&self) -> Vec<RecomputedRow> {
        let row = |(scope, of): (String, Vec<&RecomputedValue>)| RecomputedRow {
            scope,
            count: of.len(),
            bytes: of.iter().map(|v| v.bytes).sum(),
            ns: of.iter().map(|v| v.ns).sum(),
            name: of[0].name.clone(),
            span: of[0].span,
        };
        let mut rows: Vec<RecomputedRow> =
            grouped(&self.values, |v| &v.scope, |v| v.span).into_iter().map(row).collect();
        rows.sort_by_key(|r| std::cmp::Reverse(r.bytes));
        rows
    }
}

/// Makes a plan fit into `limit` bytes on each device, if recomputing forward values can. `lowered` is the plan
/// of `graph`, `relower` makes the plan of another graph.
///
/// # Errors
/// Of lowering.
pub fn fit(
    graph: &Graph,
    lowered: Lowered,
    limit: u64,
    relower: &dyn Fn(&Graph) -> Result<Lowered, Diagnostics>,
) -> Result<Lowered, Diagnostics> {
    let direct = rounds(graph, lowered.clone(), limit, relower, false)?;
    let Some(&device) = direct.memory.over(limit).first() else { return Ok(direct) };
    let gradual = rounds(graph, lowered, limit, relower, true)?;
    let better = gradual.memory.peak(device) < direct.memory.peak(device);
    Ok(if better { gradual } else { direct })
}

/// Rounds of choosing and planning until the plan fits or nothing helps. `gradual`: each round aims at no less than
/// three quarters of what the plan needs, so that the next one chooses by a plan nearer to the last; it costs more
/// time than to choose all at once, but does not drop so much at once that the copies are alive together.
fn rounds(
    graph: &Graph,
    lowered: Lowered,
    limit: u64,
    relower: &dyn Fn(&Graph) -> Result<Lowered, Diagnostics>,
    gradual: bool,
) -> Result<Lowered, Diagnostics> {
    let rates = Rates::default();
    let mut best = lowered;
    let mut graph = graph.clone();
    for _ in 0..ROUNDS {
        let Some(&device) = best.memory.over(limit).first() else { break };
        let before = best.memory.peak(device);
        let live = best.memory.temps_of(device).map_or(0, |t| t.live);
        let arena = best.memory.part(device, ArenaKind::Temp);
        // What the temporaries may take: what the other parts leave, less what lies unused between them.
        let fixed = before - arena;
        let lost = arena - live.min(arena);
        let aim = if gradual { limit.max(before / 4 * 3) } else { limit };
        let Some(budget) = aim.checked_sub(fixed) else { break };
        let choice = choose(best.program(), device, budget.saturating_sub(lost), &rates);
        if choice.dropped.is_empty() {
            break;
        }
        let node = |b: usize| NodeId(best.program().buffers[b].prov.node);
        let dropped: FxHashSet<NodeId> = choice.dropped.iter().map(|&b| node(b)).collect();
        let next_graph = recompute(&graph, &dropped, &stored(best.program()))?;
        let mut next = relower(&next_graph)?;
        if next.memory.peak(device) >= before {
            break;
        }
        let mut values = best.recomputed.as_ref().map_or(vec![], |r| r.values.clone());
        values.extend(choice.dropped.iter().zip(&choice.ns).map(|(&b, &ns)| value(best.program(), b, ns)));
        let first = best.recomputed.as_ref().map_or(before, |r| r.before);
        next.decisions.extend(values.iter().map(|v| v.decision()));
        next.recomputed = Some(Recomputed { values, before: first, after: next.memory.peak(device) });
        (best, graph) = (next, next_graph);
    }
    Ok(best)
}

/// Nodes whose results have memory of their own.
fn stored(program: &LoopProgram) -> FxHashSet<NodeId> {
    let computed = program.buffers.iter().filter(|b| matches!(b.role, Role::Temp | Role::Output));
    computed.map(|b| NodeId(b.prov.node)).collect()
}

fn value(program: &LoopProgram, b: usize, ns: f64) -> RecomputedValue {
    let buffer = &program.buffers[b];
    let (name, scope) = (buffer.name.clone(), buffer.prov.scope.clone());
    RecomputedValue { bytes: buffer.bytes(), name, scope, span: buffer.prov.span, ns }
}

impl RecomputedValue {
    fn decision(&self) -> Decision {
        let reason = format!(
            "{} are not kept for the backward: computing it again takes about {:.3} ms",
            bytes(self.bytes),
            self.ns / 1e6
        );
        Decision {
            pass: "remat",
            subject: self.name.to_string(),
            verdict: "recomputed",
            reason,
            spans: if self.span.is_none() { vec![] } else { vec![self.span] },
        }
    }
}
