//! What the training loop asks of a compiled model: entries to run and state to read and write.

use mlc_diag::Diagnostics;
use mlc_ir::program::StateDecl;
use mlc_ir::{DType, Symbol};

use crate::HostTensor;

/// The type of one fed tensor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fed {
    pub name: Symbol,
    pub dtype: DType,
    pub shape: Vec<usize>,
}

/// A scalar result of an entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    pub name: String,
    /// Rows or elements that a mean over calls weights it by; `None` where it is not averaged.
    pub weight: Option<u64>,
}

/// A compiled model with its state.
pub trait Engine {
    /// An entry bound to the shapes of its inputs, compiled.
    type Call: Clone;

    /// Compiles an entry for these inputs, or finds it compiled. Inputs that the entry does not have
    /// are ignored, so that a whole record can be given.
    ///
    /// # Errors
    /// Where the inputs do not fit the entry.
    fn bind(&mut self, entry: &str, inputs: &[Fed]) -> Result<Self::Call, Diagnostics>;

    /// Runs a bound entry on the bytes of the inputs it was bound with, in that order, and commits its
    /// state writes.
    ///
    /// # Errors
    /// A run-time fault; nothing was committed then.
    fn run(&mut self, call: &Self::Call, inputs: &[&[u8]]) -> Result<(), Diagnostics>;

    /// The scalar results of a bound entry, in a fixed order.
    fn scalars(&self, call: &Self::Call) -> Vec<Scalar>;

    /// Their values after the last run of this entry.
    fn read_scalars(&mut self, call: &Self::Call, values: &mut Vec<f64>);

    /// Loads the weights that came with the program, if any did: after those that the file names, before
    /// those of the options.
    ///
    /// # Errors
    /// Where they do not fit.
    fn load_embedded(&mut self) -> Result<(), Diagnostics> {
        Ok(())
    }

    fn states(&self) -> Vec<StateDecl>;

    /// # Errors
    /// Where there is no such state.
    fn read_state(&self, path: &str) -> Result<HostTensor, Diagnostics>;

    /// # Errors
    /// Where there is no such state, or the tensor has another dtype or shape.
    fn write_state(&mut self, path: &str, value: &HostTensor) -> Result<(), Diagnostics>;
}
