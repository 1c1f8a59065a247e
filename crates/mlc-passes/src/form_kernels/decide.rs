//! The record of what was fused and why: what `mlc explain fusion` tells.

use mlc_diag::Span;
use mlc_ir::graph::NodeId;
use mlc_ir::lower::kernel_name;

use super::facts::Facts;
use super::units::Refusal;
use crate::Decision;

/// Decisions in the making.
#[derive(Debug, Default)]
pub struct Log {
    pub decisions: Vec<Decision>,
}

impl Log {
    /// `id` shares a kernel with `with`.
    pub fn fused(&mut self, facts: &Facts<'_>, id: NodeId, with: NodeId, reason: &str) {
        self.pair(facts, id, with, "fused", reason);
    }

    /// `id` does not share a kernel with `with`, which it reads.
    pub fn apart(&mut self, facts: &Facts<'_>, id: NodeId, with: NodeId, why: Refusal) {
        self.pair(facts, id, with, "not fused", why.reason());
    }

    /// Something about one value.
    pub fn about(&mut self, facts: &Facts<'_>, id: NodeId, verdict: &'static str, reason: impl Into<String>) {
        let spans = spans(facts, &[id]);
        let subject = name(facts, id);
        self.decisions.push(Decision { pass: "fusion", subject, verdict, reason: reason.into(), spans });
    }

    fn pair(&mut self, facts: &Facts<'_>, id: NodeId, with: NodeId, verdict: &'static str, reason: &str) {
        let subject = format!("{} with {}", name(facts, id), name(facts, with));
        let (reason, spans) = (reason.into(), spans(facts, &[id, with]));
        self.decisions.push(Decision { pass: "fusion", subject, verdict, reason, spans });
    }
}

/// `exp %12`.
pub fn name(facts: &Facts<'_>, id: NodeId) -> String {
    format!("{} {id}", kernel_name(facts.graph, id.value()))
}

fn spans(facts: &Facts<'_>, ids: &[NodeId]) -> Vec<Span> {
    let mut out: Vec<Span> = vec![];
    for &id in ids {
        let span = facts.graph.node(id).prov.span;
        if !span.is_none() && !out.contains(&span) {
            out.push(span);
        }
    }
    out
}
