//! What a pass is.

use mlc_diag::{Diagnostics, Span};
use mlc_ir::graph::{Graph, Node, Stage};

/// A rewrite of one graph.
///
/// A pass may leave the graph inconsistent while it runs; when it returns `Ok`, the graph satisfies
/// the verifier for its stage. It never times, prints or verifies: the pass manager does. On `Err` the
/// graph may be half rewritten and is not used again.
pub trait Pass {
    /// `simplify`, as `--emit` and timings show it.
    fn name(&self) -> &'static str;

    /// The least stage of a graph that this pass understands.
    fn stage_before(&self) -> Stage {
        Stage::Built
    }

    /// The stage of the graph afterwards, for the passes that establish one.
    fn stage_after(&self) -> Option<Stage> {
        None
    }

    /// # Errors
    /// User mistakes that only this pass can see (an unbound dim, a forbidden transfer, a value that
    /// cannot be differentiated), or bugs.
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<(), Diagnostics>;

    /// Runs on the region of `node`, once the graph around it is done. A region is closed, so that to most
    /// passes it is a graph like any other.
    ///
    /// # Errors
    /// As [`Pass::run`].
    fn run_region(&self, body: &mut Graph, node: &Node, cx: &mut PassCx) -> Result<(), Diagnostics> {
        let _ = node;
        self.run(body, cx)
    }
}

/// What a pass decided about something, for `mlc explain`.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub pass: &'static str,
    /// What it is about, in the user's terms: `fc1.weight`, `matmul`.
    pub subject: String,
    /// `transferred`, `kept`, `fused`: one word.
    pub verdict: &'static str,
    pub reason: String,
    /// Primary first.
    pub spans: Vec<Span>,
}

/// What a pass leaves besides the graph.
#[derive(Debug, Default)]
pub struct PassCx {
    pub decisions: Vec<Decision>,
    pub warnings: Diagnostics,
}

impl PassCx {
    pub fn decide(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }
}
