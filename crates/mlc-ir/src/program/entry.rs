//! Entries: what can be run.

use mlc_diag::Span;
use serde::{Deserialize, Serialize};

use super::update::Pass;
use crate::graph::Graph;
use crate::types::{Symbol, Type};

/// A graph with a name and a purpose. `graph.outputs` are its results, `graph.writes` the state it
/// changes; its inputs are the graph's `input` nodes, declared here in call order.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Unique in the program: `forward`, `net.generate`, `train.step`, `train.validate`, `init`.
    pub name: String,
    pub kind: EntryKind,
    pub inputs: Vec<InputDecl>,
    pub graph: Graph,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EntryKind {
    /// No inputs; writes every parameter, buffer, average and optimizer state its first value.
    /// Random numbers of the parameter at `path` are keyed by (`init`, path).
    Init,
    /// A method or fn with all parameters annotated.
    Method,
    /// A call of an update of a train block: [`Train::updates`](super::Train::updates) says which calls an update
    /// consists of.
    Pass { train: usize, pass: Pass },
    /// Losses and metrics without updates.
    Validate { train: usize },
    /// The `expect`s of a test block, each a bool output.
    Test { test: usize },
}

impl EntryKind {
    /// The train block that the entry is of.
    pub fn train(&self) -> Option<usize> {
        match self {
            EntryKind::Pass { train, .. } | EntryKind::Validate { train } => Some(*train),
            EntryKind::Init | EntryKind::Method | EntryKind::Test { .. } => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputDecl {
    #[serde(with = "crate::serial::shared")]
    pub name: Symbol,
    /// With dim names still free.
    pub ty: Type,
    /// Default of a scalar parameter (`temperature: f32 = 1.0`), if it has one.
    pub default: Option<f64>,
    pub span: Span,
}
