//! The pipeline: every pass over the graph in its order, with the reason for each place.
//!
//! Read it top to bottom. Stages are milestones at which a caller may stop
//! ([`PassManager::stop_after`]); passes that establish no stage may stand anywhere between.

use mlc_ir::Binding;

use crate::{Bind, Cse, Dce, Differentiate, Pass, PassManager, Place, Simplify, Sink};

/// What the pipeline needs to know from outside.
#[derive(Debug, Clone)]
pub struct Options {
    pub place: Place,
    /// Values for the names in dims; a name that is missing is an error of `bind`.
    pub binding: Binding,
}

/// From the front end's graph to the one that is lowered.
pub fn pipeline<'p>(options: &Options) -> PassManager<'p> {
    let passes: Vec<Box<dyn Pass + 'p>> = vec![
        // Before differentiate, so that gradients live where their values do and the derivative of a
        // transfer is the transfer back.
        Box::new(options.place.clone()),
        // Before differentiate, so that a metric and the loss share one forward: merged later, it would
        // be differentiated and computed twice. Simplify first: it makes more nodes equal.
        Box::new(Simplify),
        Box::new(Cse),
        Box::new(Dce),
        // Before dims are bound: one derivative serves every binding.
        Box::new(Differentiate),
        // Dims become numbers as late as the graph allows: nothing before chooses by size.
        Box::new(Bind::new(options.binding.clone())),
        // Before simplify: constants fold with what a loop computes. After differentiate: views are variables
        // before.
        Box::new(Sink),
        // Numbers fold further (dims that are 1, slices that are whole).
        Box::new(Simplify),
        Box::new(Cse),
        Box::new(Dce),
    ];
    PassManager::new(passes)
}
