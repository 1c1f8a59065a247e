//! Runs a list of passes over a graph; the only place that times, verifies and shows stages.
//!
//! Input: a verified graph and a list of passes. Output: the graph after the last of them, and a
//! [`Report`]. After each pass the stage is what the pass says and the verifier holds (when asked, and
//! always in builds with debug assertions). A pass runs on the graph, then on the regions in it.

use std::time::{Duration, Instant};

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::graph::{Graph, NodeId, Stage, verify};

use crate::pass::{Decision, Pass, PassCx};

/// Sees the graph after each pass: the pass's name and, if the pass established one, the stage.
type Hook<'p> = Box<dyn FnMut(&str, Option<Stage>, &Graph) + 'p>;

/// A list of passes to run. Build it from [`crate::pipeline`], then insert, stop early or look in.
pub struct PassManager<'p> {
    passes: Vec<Box<dyn Pass + 'p>>,
    verify: bool,
    stop_after: Option<Stage>,
    hook: Option<Hook<'p>>,
}

/// How long one pass took, and the number of nodes after it.
#[derive(Debug, Clone)]
pub struct Timing {
    pub pass: &'static str,
    pub time: Duration,
    pub nodes: usize,
}

/// What a run leaves besides the graph.
#[derive(Debug, Default)]
pub struct Report {
    pub timings: Vec<Timing>,
    pub decisions: Vec<Decision>,
    pub warnings: Diagnostics,
}

impl<'p> PassManager<'p> {
    /// Verifies after each pass in builds with debug assertions; [`PassManager::verify`] changes that.
    pub fn new(passes: Vec<Box<dyn Pass + 'p>>) -> Self {
        PassManager { passes, verify: cfg!(debug_assertions), stop_after: None, hook: None }
    }

    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Runs no pass after the one that establishes `stage`. Passes that establish no stage and stand
    /// between run too, so that the graph is as the next stage will find it.
    pub fn stop_after(mut self, stage: Stage) -> Self {
        self.stop_after = Some(stage);
        self
    }

    /// Calls `hook` after each pass.
    pub fn on_stage(mut self, hook: impl FnMut(&str, Option<Stage>, &Graph) + 'p) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    pub fn push(&mut self, pass: impl Pass + 'p) {
        self.passes.push(Box::new(pass));
    }

    /// Inserts a pass behind the last one called `name`; `false` (and nothing inserted) where there is
    /// none.
    pub fn insert_after(&mut self, name: &str, pass: impl Pass + 'p) -> bool {
        let Some(at) = self.passes.iter().rposition(|p| p.name() == name) else { return false };
        self.passes.insert(at + 1, Box::new(pass));
        true
    }

    /// Inserts a pass before the first one called `name`; `false` where there is none.
    pub fn insert_before(&mut self, name: &str, pass: impl Pass + 'p) -> bool {
        let Some(at) = self.passes.iter().position(|p| p.name() == name) else { return false };
        self.passes.insert(at, Box::new(pass));
        true
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.passes.iter().map(|p| p.name()).collect()
    }

    /// # Errors
    /// Of the first pass that fails, or what the verifier finds after it.
    pub fn run(&mut self, graph: &mut Graph) -> Result<Report, Diagnostics> {
        let mut report = Report::default();
        let mut cx = PassCx::default();
        for pass in &self.passes {
            let beyond = |stop| pass.stage_after().is_some_and(|after| after > stop);
            if self.stop_after.is_some_and(beyond) {
                break;
            }
            if graph.stage < pass.stage_before() {
                let title = format!(
                    "pass `{}` needs a {} graph, `{}` is {}",
                    pass.name(),
                    pass.stage_before(),
                    graph.name,
                    graph.stage
                );
                return Err(Diagnostic::bug(title).into());
            }
            let start = Instant::now();
            pass.run(graph, &mut cx)?;
            in_regions(&**pass, graph, &mut cx)?;
            if let Some(stage) = pass.stage_after() {
                graph.stage = stage.max(graph.stage);
            }
            report.timings.push(Timing { pass: pass.name(), time: start.elapsed(), nodes: graph.len() });
            if self.verify {
                verify(graph).map_err(|e| e.after_pass(pass.name()))?;
            }
            if let Some(hook) = &mut self.hook {
                hook(pass.name(), pass.stage_after(), graph);
            }
        }
        report.decisions = cx.decisions;
        report.warnings = cx.warnings;
        Ok(report)
    }
}

/// Runs a pass on all regions of a graph that it has run on, the outer ones first.
fn in_regions(pass: &dyn Pass, graph: &mut Graph, cx: &mut PassCx) -> Result<(), Diagnostics> {
    let nodes: Vec<NodeId> = graph.with_regions();
    for id in nodes {
        let Some(mut body) = graph.region(id) else { continue };
        pass.run_region(&mut body, graph.node(id), cx)?;
        in_regions(pass, &mut body, cx)?;
        graph.set_region(id, body);
    }
    Ok(())
}
