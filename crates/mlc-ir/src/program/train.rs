//! Train blocks: everything about a run that is not in a graph.

use mlc_diag::Span;
use serde::{Deserialize, Serialize};

use super::data::DataSpec;
use crate::types::Symbol;

/// A train block. Relative paths in it are relative to `base_dir`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Train {
    /// The block's name, or `train`.
    pub name: String,
    pub span: Span,
    /// Folder of the file that holds the block.
    pub base_dir: std::path::PathBuf,
    pub data: Option<DataSpec>,
    pub validate: Option<DataSpec>,
    pub epochs: Option<u64>,
    pub steps: Option<u64>,
    /// Micro-batches in one update; 1 without `accumulate`.
    pub accumulate: u64,
    pub seed: Option<u64>,
    /// Parameters and their optimizers are in the step graphs; here is what they are called.
    pub losses: Vec<Loss>,
    pub metrics: Vec<Metric>,
    /// Loaded before the first step; first match wins.
    pub weights: Vec<WeightsRule>,
    pub save: Option<Save>,
    pub stop: Option<Stop>,
    /// The binding named `model`, whose state paths have no prefix, and the other instances.
    #[serde(with = "crate::serial::symbols")]
    pub instances: Vec<Symbol>,
}

/// A loss: the output `loss` (or `loss.NAME` with several) of step and validate entries. Learning
/// rates are outputs `lr` (or `lr.GLOB` under a path map).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Empty for the unnamed one.
    pub name: String,
    /// Runs when `step % every == 0`.
    pub every: u64,
    pub span: Span,
}

/// A metric: the output `metric.NAME`, weighted as its output says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub name: String,
    pub span: Span,
}

/// One line of a path map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathRule {
    pub glob: String,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightsRule {
    pub rule: PathRule,
    pub source: WeightsSource,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WeightsSource {
    /// Keep the initial values.
    Init,
    File(String),
}

/// What to write when the run ends (or a validation is the best so far).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Save {
    /// First match wins; states that match nothing are not saved.
    pub rules: Vec<(PathRule, String)>,
    pub best: Option<SaveBest>,
}

/// `best(path, max: "accuracy")`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SaveBest {
    /// A metric or loss output name.
    pub by: String,
    pub maximize: bool,
}

/// `patience(max: "accuracy", validations: 5)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    pub by: String,
    pub maximize: bool,
    pub validations: u64,
}

/// A test block: its entry `test.NAME` gives one bool output for each tensor `expect`; the others are
/// decided by the compiler.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    pub name: String,
    pub span: Span,
    pub expects: Vec<Expect>,
}

/// One `expect`.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    pub span: Span,
    pub kind: ExpectKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ExpectKind {
    /// Decided at compile time.
    Static(bool),
    /// The entry's output of this name must be true.
    Output(String),
    /// `gradcheck(net, x)`: outputs with the loss and gradients are named by the entry; see the runner.
    GradCheck { entry: String },
    /// `kernels(net.forward) <= 3`, `peak(train) <= 2GiB`: a figure of an entry's plan against a bound.
    Plan { entry: String, figure: PlanFigure, rel: crate::types::Relation, bound: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanFigure {
    Kernels,
    PeakBytes,
}
