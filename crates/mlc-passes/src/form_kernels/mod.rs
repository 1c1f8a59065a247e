//! Forming kernels: which nodes of a decomposed graph are computed together, and what lies in memory.
//!
//! Input: a decomposed graph. Output: a [`KernelGraph`]: groups of nodes in topological order, each with the
//! [`Recipe`] that `lower` builds one kernel from. No step changes a rounding: a node
//! computes the same expression of the same values in whichever kernel it is.
//!
//! 1. `facts`, `relation`: what each node is, what it reads below all views, and at which place.
//! 2. `epilogues` (E): what follows a contraction, element by element, joins it.
//! 3. `sweep` (P): forward over the rest: maps and reductions join what they read.
//! 4. `siblings` (H): kernels that read one value over the same rows and columns merge.
//! 5. `recompute` (X): in reverse, values are folded into their one reader, or made again where that is
//!    cheaper than memory.
//! 6. `finish`: what nobody reads from memory is not stored.
//! 7. `segments` (S): small kernels without rows that do not depend on one another run as one.
//!
//! `units` holds groups in the making and finds cycles; `lifetime` refuses merges that would keep much alive
//! for long. Every choice is a [`Decision`].
//!
//! ```text
//! softmax: max, sub, exp, sum, div     ->   one group: rows [64], cols [1000]; out: div
//! x @ w + b, relu                      ->   one group: contraction; out: relu
//! ```
//!
//! Invariants: groups have no cycle; every value that a group reads is a source or an out of another group;
//! every kept value is an out of exactly one.

mod decide;
mod domain;
mod epilogues;
mod facts;
mod finish;
mod lifetime;
mod notes;
mod recompute;
mod relation;
mod segments;
mod siblings;
mod sweep;
#[cfg(test)]
mod tests;
mod units;

use mlc_diag::Diagnostic;
use mlc_ir::graph::{Graph, NodeId, ValueId};
use mlc_ir::lower::{Homes, Inside, Recipe, Rule};

use crate::Decision;
use facts::{Facts, Role};
pub use notes::{Held, KernelNote, Written};

/// What to fuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fusion {
    /// Without, every node that is not a view or a constant is a kernel of its own: what tests compare with.
    pub fuse: bool,
}

impl Default for Fusion {
    fn default() -> Fusion {
        Fusion { fuse: true }
    }
}

/// One kernel: mostly of one part; of several that have nothing to do with each other, as segments.
#[derive(Debug, Clone)]
pub struct Group {
    pub parts: Vec<Part>,
}

/// Nodes that are computed together.
#[derive(Debug, Clone)]
pub struct Part {
    pub recipe: Recipe,
    /// The nodes that the kernel computes: its own, and those of other groups that it makes again.
    pub inside: Inside,
    /// What it reads from memory.
    pub reads: Vec<NodeId>,
}

/// A concat that lies in memory because kernels write its parts there.
#[derive(Debug, Clone)]
pub struct Joined {
    pub whole: ValueId,
    /// Each with its first element in the whole.
    pub parts: Vec<(ValueId, u64)>,
}

/// Kernels before they are built.
pub struct KernelGraph<'g> {
    pub homes: Homes<'g>,
    /// In topological order.
    pub groups: Vec<Group>,
    pub joined: Vec<Joined>,
    /// For each group, for people.
    pub notes: Vec<KernelNote>,
    pub decisions: Vec<Decision>,
}

/// Forms kernels.
///
/// # Errors
/// Bugs: an op that should be gone, a dim that is not bound.
pub fn form_kernels(graph: &Graph, fusion: Fusion) -> Result<KernelGraph<'_>, Diagnostic> {
    let facts = Facts::new(graph)?;
    let mut units = units::Units::new(&facts);
    let mut log = decide::Log::default();
    let mut again = recompute::Again::default();
    if fusion.fuse {
        epilogues::epilogues(&mut units, &mut log);
        sweep::sweep(&mut units, &mut log);
        siblings::siblings(&mut units, &mut log);
        again = recompute::recompute(&units, &mut log);
    }
    let mut formed = finish::finish(&units, &again)?;
    if fusion.fuse {
        formed.groups = segments::segments(&facts, formed.groups, &formed.joined, &mut log);
    }
    notes::settle(&facts, &formed.groups, &mut log);
    formed.notes = notes::notes(&facts, &formed.groups);
    formed.decisions = log.finish();
    Ok(formed)
}

impl<'g> KernelGraph<'g> {
    fn new(facts: &Facts<'g>, groups: Vec<Group>, joined: Vec<Joined>) -> KernelGraph<'g> {
        let mut homes = Homes::new(facts.graph);
        let parts = groups.iter().flat_map(|g| &g.parts);
        let outs = parts.flat_map(|p| &p.recipe.outs).map(|o| o.value);
        for v in outs.chain(facts.sources()).chain(joined.iter().map(|j| j.whole)) {
            homes.set(v, v);
        }
        name_reshapes(facts.graph, &mut homes);
        KernelGraph { homes, groups, joined, notes: vec![], decisions: vec![] }
    }
}

/// A reshape of what lies in memory lies there too.
fn name_reshapes(graph: &Graph, homes: &mut Homes<'_>) {
    for id in graph.topo_order() {
        let node = graph.node(id);
        if let Rule::View(view) = node.op.lowering().rule()
            && view.renames()
            && homes.of(id.value()).is_none()
            && let Some(home) = homes.of(node.operands[0])
        {
            homes.set(id.value(), home);
        }
    }
}

impl Facts<'_> {
    /// Everything that lies in memory without a kernel.
    fn sources(&self) -> impl Iterator<Item = ValueId> + '_ {
        let live = self.graph.ids().filter(|&n| self.get(n).is_some_and(|f| f.role == Role::Source));
        live.map(NodeId::value)
    }
}
