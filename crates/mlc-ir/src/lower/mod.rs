//! From tensor ops to loop IR: each op's rule, and the building of one kernel from a value and what is
//! computed along with it.
//!
//! An op is lowered in one of five ways ([`Rule`]): as a *view* it only maps coordinates; as an *element*
//! rule it gives the expression of one element of its result; a *reduction* is an accumulator or a tail of
//! the kernel that it is in; a *contraction* is a kernel whose epilogue may hold more; as a *kernel* rule it
//! is a kernel of its own. Asking an [`Emitter`] for an element of a value follows views and element rules
//! down to values that lie in memory. Which values do ([`Homes`]) and which nodes make up a kernel
//! ([`Recipe`]) is decided before, by `form_kernels` in the passes.
//!
//! ```text
//! %2 = broadcast(%bias)        value(%3, [i, j]) = add(value(%1, [i, j]), value(%2, [i, j]))
//! %3 = map add %1, %2                            = add(load x[128*i + j], load bias[j])
//! ```
//!
//! Coordinates are index maps over the domain's axes ([`coords`]). A reshape that splits an axis gives a
//! quotient and a remainder of it; [`Domain`] then splits the domain's axis there and the kernel is built
//! again, so that nearly all maps end up affine.

pub mod alias;
pub mod coords;
mod domain;
mod emit;
mod group;
mod join;
mod merge;

mod contract;
mod elementwise;
mod indexed;
mod reduce;
mod scan;
mod source;
mod transfer;
mod view;

use mlc_diag::Diagnostic;

use rustc_hash::FxHashSet;

use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::loops::ExprId;
use crate::op::{Contract, Reduce};

pub use contract::operand_maps_are_affine;
pub use coords::Coords;
pub use domain::{Domain, refined};
pub use emit::{Draft, Emitter, kernel_name, prov};
pub use group::{Form, Out, Place, Recipe, build, segments};
pub use indexed::is_zero;
pub use merge::{merge_axes, merge_contraction};
pub use reduce::{Sides, sides};
pub use source::uniform;
pub use transfer::copy_kernel;

/// How an op becomes loop IR.
pub enum Rule<'a> {
    /// Lies in memory when the entry starts.
    Stored,
    /// Its elements are its operand's at other coordinates.
    View(&'a dyn View),
    /// Each element is an expression of its coordinates and of elements of the operands.
    Element(&'a dyn Element),
    /// An accumulator or a tail.
    Reduce(&'a Reduce),
    /// A kernel of products, with an epilogue.
    Contract(&'a Contract),
    /// A kernel of its own.
    Kernel(&'a dyn OwnKernel),
    /// A kernel that repeats a program: the `lower` pass makes it of the node's region. All its operands and
    /// results lie in memory.
    Program,
    /// Does not exist in a decomposed graph.
    Gone,
}

/// Every op's payload says how it is lowered; `Op::lowering` dispatches here.
pub trait Lower {
    fn rule(&self) -> Rule<'_>;
}

/// A coordinate map.
pub trait View {
    /// The coordinates in the operand (of shape `from`) of the element at `coords` of the result (of shape
    /// `to`). `extents` are those of the domain's axes, which indices speak of.
    fn coords(&self, from: &[u64], to: &[u64], coords: &[crate::loops::Index], extents: &[u64]) -> Coords;

    /// The coordinates in the result of the element at `coords` of the operand, where each element of the
    /// operand is one of the result.
    fn inverse(
        &self,
        from: &[u64],
        to: &[u64],
        coords: &[crate::loops::Index],
        extents: &[u64],
    ) -> Option<Coords> {
        let _ = (from, to, coords, extents);
        None
    }

    /// Does the result have the operand's elements in the operand's order, so that memory serves both?
    fn renames(&self) -> bool {
        false
    }
}

/// An element-by-element rule.
pub trait Element {
    /// The value of the element at `coords` of the node's result.
    ///
    /// # Errors
    /// What cannot be built (an index into an empty axis).
    fn element(
        &self,
        e: &mut Emitter<'_>,
        node: &Node,
        coords: &[crate::loops::Index],
    ) -> Result<ExprId, Diagnostic>;

    /// What an element costs, in expressions.
    fn cost(&self, node: &Node) -> Cost;

    /// The coordinates at which the operand `i` is read for the element at `coords`, where they are a fixed
    /// map of these and nothing guards them.
    fn reads(&self, graph: &Graph, node: &Node, i: usize, coords: &[crate::loops::Index]) -> Option<Coords> {
        let _ = (graph, node, i);
        Some(coords.into())
    }
}

/// What computing an element again costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub exprs: u32,
    pub weight: Weight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Never worth memory: constants, positions, random bits.
    Free,
    /// A few primitives.
    Cheap,
    /// A function expansion.
    Heavy,
}

/// What a rule asks of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Nothing: the rule does without.
    Unused,
    /// An expression is enough.
    Inline,
    /// Memory in the operand's own row-major order.
    Dense,
}

/// A rule that makes a kernel.
pub trait OwnKernel {
    /// # Errors
    /// What cannot be built.
    fn kernel(&self, cx: Cx<'_>, v: ValueId) -> Result<Draft, Diagnostic>;

    /// What the operand `i` must be like.
    fn need(&self, graph: &Graph, node: &Node, i: usize) -> Need;
}

/// A decomposed graph and which of its values lie in memory.
pub struct Homes<'g> {
    pub graph: &'g Graph,
    /// By node: the value whose memory holds this one in this one's row-major order. Itself, or the value
    /// that a reshape renames.
    pub home: Vec<Option<ValueId>>,
}

impl<'g> Homes<'g> {
    pub fn new(graph: &'g Graph) -> Homes<'g> {
        let bound = graph.ids().map(|n| n.0 as usize + 1).max().unwrap_or(0);
        Homes { graph, home: vec![None; bound] }
    }

    pub fn of(&self, v: ValueId) -> Option<ValueId> {
        let home = self.home.get(v.node.0 as usize).copied().flatten()?;
        // The results of a node with several lie in memory, each by itself.
        Some(if v.result > 0 { v } else { home })
    }

    pub fn set(&mut self, v: ValueId, home: ValueId) {
        if let Some(slot) = self.home.get_mut(v.node.0 as usize) {
            *slot = Some(home);
        }
    }

    pub fn shape(&self, v: ValueId) -> Result<Vec<u64>, Diagnostic> {
        extents(self.graph, v)
    }
}

/// Nodes that one kernel computes, wherever else their values lie.
pub type Inside = FxHashSet<NodeId>;

/// What the building of one kernel knows: memory, as that kernel sees it.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    pub graph: &'a Graph,
    homes: &'a Homes<'a>,
    inside: &'a Inside,
}

impl<'a> Cx<'a> {
    pub fn new(homes: &'a Homes<'a>, inside: &'a Inside) -> Cx<'a> {
        Cx { graph: homes.graph, homes, inside }
    }

    /// The value whose memory the kernel reads this one from; `None` for what it computes, and for what
    /// costs nothing.
    pub fn of(&self, v: ValueId) -> Option<ValueId> {
        self.homes.of(v).filter(|home| !self.inside.contains(&home.node) && !is_free(self.graph, home.node))
    }

    /// The value whose memory holds this one, whoever computes it.
    pub fn home(&self, v: ValueId) -> Option<ValueId> {
        self.homes.of(v)
    }

    /// The nodes that the kernel computes.
    pub fn inside(&self) -> impl Iterator<Item = NodeId> + 'a {
        self.inside.iter().copied()
    }

    /// # Errors
    /// A bug where the value is not bound.
    pub fn shape(&self, v: ValueId) -> Result<Vec<u64>, Diagnostic> {
        extents(self.graph, v)
    }
}

/// The extents of a value of a bound graph.
///
/// # Errors
/// A bug where a dim is not a number.
pub fn extents(graph: &Graph, v: ValueId) -> Result<Vec<u64>, Diagnostic> {
    let ty = graph.ty(v);
    match ty.bound_shape() {
        Some(shape) => Ok(shape.into_iter().map(|d| d as u64).collect()),
        None => Err(Diagnostic::bug(format!("{v}: {ty} is not bound")).label(graph.span(v), "")),
    }
}

/// Is the node never worth reading from memory: a constant, a position, random bits?
pub fn is_free(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match node.op.lowering().rule() {
        Rule::Element(rule) => rule.cost(node).weight == Weight::Free,
        _ => false,
    }
}

/// Elements of a shape; saturates.
pub fn count(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |n, &d| n.saturating_mul(d))
}

/// Follows views from `v` down to the first value that is not one.
pub fn base(graph: &Graph, mut v: ValueId) -> ValueId {
    while let Rule::View(_) = graph.node(v.node).op.lowering().rule() {
        match graph.node(v.node).operands.first() {
            Some(&operand) => v = operand,
            None => break,
        }
    }
    v
}
