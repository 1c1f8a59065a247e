//! A whole file after the front end: entries as graphs, one state layout, and what the runtime needs
//! to feed and train them. Plain data; the front end writes it, everyone else reads it.

pub mod data;
mod entry;
pub mod glob;
mod state;
mod train;
mod update;

use std::sync::Arc;

use mlc_diag::SourceMap;

pub use data::{
    DataPart, DataSpec, DatasetSpec, FieldDim, FieldSpec, PipelineSpec, RandomSpec, ShuffleSpec, SourceKind,
    SourceSpec,
};
pub use entry::{Entry, EntryKind, InputDecl};
pub use state::{StateDecl, StateKind, StateLayout, StateSlot, system};
pub use train::{
    Expect, ExpectKind, Loss, Metric, PathRule, PlanFigure, Save, SaveBest, Stop, Test, Train, WeightsRule,
    WeightsSource,
};
pub use update::{Pass, PassEnd, Stage, Update};

/// Everything that one .mlg file (with what it uses) compiles to.
#[derive(Debug, Clone)]
pub struct Program {
    pub sources: Arc<SourceMap>,
    /// One layout shared by all entries and bindings; the order is the checkpoint's order.
    pub states: Vec<StateDecl>,
    pub entries: Vec<Entry>,
    pub trains: Vec<Train>,
    pub tests: Vec<Test>,
    pub transfers: TransferRules,
}

/// What the file says about values that cross devices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TransferRules {
    /// `transfers explicit`: each must be spelled `.to(device)`.
    pub explicit: bool,
    pub limits: Vec<TransferLimit>,
}

/// `transfers <= 2 per step`.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferLimit {
    pub count: u64,
    /// What one counts in: `step`.
    pub per: String,
    pub span: mlc_diag::Span,
}

impl Program {
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.name == name)
    }

    pub fn state(&self, path: &str) -> Option<&StateDecl> {
        self.states.iter().find(|s| *s.path == *path)
    }
}
