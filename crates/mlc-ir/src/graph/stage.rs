//! Stages: what is illegal in a graph after which pass.

use std::fmt;
use std::str::FromStr;

/// How far a graph has come. Each stage keeps the restrictions of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// From the front end: types are inferred, devices stand only where the program says so.
    Built,
    /// Every value has a device; operands of a node share it, except at a `transfer`.
    Placed,
    /// No `grad` and no `stop_gradient` nodes.
    Differentiated,
    /// Every dim is a number, no `dim` nodes, no pending checks.
    Bound,
    /// Only ops that lower to one kernel each. Decompose is the last pass that may change a rounding.
    Decomposed,
}

impl Stage {
    pub const ALL: [Stage; 5] =
        [Stage::Built, Stage::Placed, Stage::Differentiated, Stage::Bound, Stage::Decomposed];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Built => "built",
            Stage::Placed => "placed",
            Stage::Differentiated => "differentiated",
            Stage::Bound => "bound",
            Stage::Decomposed => "decomposed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = ();

    fn from_str(s: &str) -> Result<Stage, ()> {
        Stage::ALL.into_iter().find(|st| st.name() == s).ok_or(())
    }
}
