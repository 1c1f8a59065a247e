//! What happens during a run, as the observer and the log see it.

use std::path::PathBuf;

/// One update.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepReport {
    /// 1-based, over the whole run.
    pub step: u64,
    /// 0-based.
    pub epoch: u64,
    /// Each loss with its name (empty for the unnamed one), before the update; those that ran.
    pub losses: Vec<(String, f64)>,
    pub metrics: Vec<(String, f64)>,
    /// Learning rates, by the glob of their path map (empty for the only one).
    pub lr: Vec<(String, f64)>,
    pub scale: f64,
    /// Skipped updates so far.
    pub skipped: u64,
    /// Wall time of this update in milliseconds, data included.
    pub ms: f64,
    /// Samples in this update.
    pub rows: u64,
}

/// One pass over the validation data.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidationReport {
    pub step: u64,
    pub epoch: u64,
    pub losses: Vec<(String, f64)>,
    pub metrics: Vec<(String, f64)>,
    pub rows: u64,
    pub ms: f64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    pub steps: u64,
    pub seed: u64,
    pub end: End,
    pub validation: Option<ValidationReport>,
    pub last: Option<StepReport>,
    pub saved: Vec<PathBuf>,
    /// The checkpoint folder to resume from, where one was written.
    pub checkpoint: Option<PathBuf>,
    pub seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All steps done.
    Finished,
    /// The file's `stop` rule.
    Stopped,
    /// The caller's interrupt flag.
    Interrupted,
}

/// Is told what happens; decides what to show.
pub trait Observer {
    /// Before the first step: updates and epochs planned, updates in an epoch, updates done (resume).
    fn start(&mut self, _plan: &Planned) {}
    fn step(&mut self, _report: &StepReport) {}
    fn validation(&mut self, _report: &ValidationReport) {}
    /// Something the user should know now: a loss that is not finite, a file written.
    fn warn(&mut self, _warning: mlc_diag::Diagnostic) {}
}

/// The size of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    pub steps: u64,
    /// Without data an epoch has no end.
    pub steps_per_epoch: Option<u64>,
    pub done: u64,
}

/// Shows nothing.
pub struct Silent;

impl Observer for Silent {}

impl StepReport {
    /// The sum of all losses.
    pub fn loss(&self) -> f64 {
        self.losses.iter().map(|l| l.1).sum()
    }
}

impl ValidationReport {
    /// A loss or metric by the name that `save` and `stop` use: `accuracy`, `loss`.
    pub fn value(&self, name: &str) -> Option<f64> {
        let metric = self.metrics.iter().find(|m| m.0 == name);
        let loss = self.losses.iter().find(|l| if l.0.is_empty() { name == "loss" } else { l.0 == name });
        match (metric, loss) {
            (Some(v), _) | (None, Some(v)) => Some(v.1),
            _ if name == "loss" && !self.losses.is_empty() => Some(self.losses.iter().map(|l| l.1).sum()),
            _ => None,
        }
    }
}
