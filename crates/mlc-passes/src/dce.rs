//! Drops what no output and no state write depends on.
//!
//! Inputs stay: they are the entry's signature. This is all there is to `no_grad`: an entry without an
//! update has no node that only a gradient would need.

use mlc_diag::Diagnostics;
use mlc_ir::graph::Graph;

use crate::pass::{Pass, PassCx};

#[derive(Debug, Clone, Copy)]
pub struct Dce;

impl Pass for Dce {
    fn name(&self) -> &'static str {
        "dce"
    }

    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<(), Diagnostics> {
        graph.remove_dead();
        Ok(())
    }
}
