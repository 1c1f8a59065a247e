//! Nodes and the ids that name them.

use std::fmt;

use mlc_diag::Span;
use smallvec::SmallVec;

use crate::op::Op;
use crate::types::Type;

/// A node of one graph. Prints as its first result is written: `%12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// A result of a node: `%12`, or `%12.1` for the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId {
    pub node: NodeId,
    pub result: u16,
}

/// A scope path interned in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ScopeId(pub u32);

/// Which part of a step a node belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Phase {
    #[default]
    Forward,
    Backward,
    Update,
    /// Transfers, counters: what the compiler added.
    Infra,
}

/// Where a node comes from; kept through every pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prov {
    pub span: Span,
    pub scope: ScopeId,
    pub phase: Phase,
}

/// An op applied to values.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub op: Op,
    pub operands: SmallVec<[ValueId; 3]>,
    pub results: SmallVec<[Type; 1]>,
    pub prov: Prov,
}

impl NodeId {
    /// Its result number `i`.
    pub fn result(self, i: usize) -> ValueId {
        ValueId { node: self, result: i as u16 }
    }

    /// Its first (and mostly only) result.
    pub fn value(self) -> ValueId {
        self.result(0)
    }
}

impl Prov {
    pub const NONE: Prov = Prov { span: Span::NONE, scope: ScopeId(0), phase: Phase::Forward };

    pub fn at(span: Span) -> Prov {
        Prov { span, ..Prov::NONE }
    }
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Update => "update",
            Phase::Infra => "infra",
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.result {
            0 => write!(f, "%{}", self.node.0),
            i => write!(f, "%{}.{i}", self.node.0),
        }
    }
}
