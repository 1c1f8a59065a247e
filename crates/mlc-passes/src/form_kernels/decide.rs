//! The record of what was fused and why: what `mlc explain fusion` tells.

use mlc_diag::Span;
use mlc_ir::graph::NodeId;
use mlc_ir::lower::kernel_name;

use super::facts::Facts;
use super::units::Refusal;
use crate::Decision;

/// Decisions in the making, with the two nodes that each is about.
#[derive(Debug, Default)]
pub struct Log {
    list: Vec<(Decision, Option<(NodeId, NodeId)>)>,
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
        let decision = Decision { pass: "fusion", subject, verdict, reason: reason.into(), spans };
        self.list.push((decision, None));
    }

    /// Keeps decisions about pairs of nodes only where `right(verdict, node, with)`.
    pub fn keep(&mut self, right: impl Fn(&str, NodeId, NodeId) -> bool) {
        self.list.retain(|(d, pair)| pair.is_none_or(|(a, b)| right(d.verdict, a, b)));
    }

    /// The pairs that decisions are about.
    pub fn pairs(&self) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        self.list.iter().filter_map(|d| d.1)
    }

    pub fn finish(self) -> Vec<Decision> {
        self.list.into_iter().map(|d| d.0).collect()
    }

    fn pair(&mut self, facts: &Facts<'_>, id: NodeId, with: NodeId, verdict: &'static str, reason: &str) {
        let subject = format!("{} and {}", name(facts, id), name(facts, with));
        let (reason, spans) = (reason.into(), spans(facts, &[id, with]));
        self.list.push((Decision { pass: "fusion", subject, verdict, reason, spans }, Some((id, with))));
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
