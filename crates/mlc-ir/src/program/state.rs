//! State: what lives from step to step.

use mlc_diag::Span;

use crate::types::{Symbol, Type};

/// One tensor of state. Its path is its name in graphs, checkpoints and weight files: `fc1.weight`,
/// `critic.fc.bias`, `optimizer.m.fc1.weight`.
#[derive(Debug, Clone, PartialEq)]
pub struct StateDecl {
    pub path: Symbol,
    /// Dims are numbers.
    pub ty: Type,
    pub kind: StateKind,
    /// The further paths of a shared instance, any of which a weight file may use.
    pub aliases: Vec<Symbol>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StateKind {
    /// Trained, unless the optimizer map says frozen.
    Param,
    /// Not trained, saved with the weights (`running_mean`).
    Buffer,
    /// An optimizer's state for one parameter.
    Optimizer { param: Symbol, name: Symbol },
    /// An untrained copy that follows another state (`ema`).
    Average { of: Symbol },
    /// A running sum of gradients under `accumulate`.
    Gradient { param: Symbol },
    /// Of the run: see [`system`].
    System,
}

/// System states, all scalars; the runtime sets them when a session starts and entries may write them.
pub mod system {
    /// u64: the run's seed, the key of all random numbers.
    pub const SEED: &str = "system.seed";
    /// u32: calls of the step so far, micro-batches and skipped steps included; counts random numbers.
    pub const ITERATION: &str = "system.iteration";
    /// f32: updates applied so far: `step` in schedules and optimizers.
    pub const STEP: &str = "system.step";
    /// f32: the updates of the whole run: `total_steps`.
    pub const TOTAL_STEPS: &str = "system.total_steps";
}
