//! `transfers <= n per step`: a contract about what crosses between devices, held when a file is compiled.
//!
//! Forward crossings and their backward ones count, for each micro-batch; inputs, data, results and
//! what an update sends do not.

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::Binding;
use mlc_ir::graph::{Graph, Phase, Stage};
use mlc_ir::program::{Entry, EntryKind};
use mlc_passes::{Crossing, crossings};

use crate::Program;
use crate::bound::passes;

/// Holds every step of the program against the file's limits.
///
/// # Errors
/// E0502 with each crossing, for a step that has too many; what differentiating the step finds.
pub(crate) fn check_limits(program: &Program) -> Result<(), Diagnostics> {
    let limits = &program.ir().transfers.limits;
    let Some(tightest) = limits.iter().min_by_key(|l| l.count) else { return Ok(()) };
    let mut errors = Diagnostics::new();
    for entry in program.ir().entries.iter().filter(|e| is_step(e)) {
        let mut graph = entry.graph.clone();
        passes(program, &Binding::new()).stop_after(Stage::Differentiated).run(&mut graph)?;
        let counted = counted(&graph);
        if counted.len() as u64 <= tightest.count {
            continue;
        }
        let title = format!("`{}` has {} transfers, more than {}", entry.name, counted.len(), tightest.count);
        let mut d = Diagnostic::error("E0502", title).label(tightest.span, "the limit");
        for c in &counted {
            let phase = if c.phase == Phase::Backward { ", in the backward pass" } else { "" };
            d = d.label(c.span, format!("{} to {}: {} bytes{phase}", c.from, c.to, c.bytes));
        }
        errors.push(d.hint("put what exchanges values on one device, or raise the limit"));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn is_step(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Step { .. } | EntryKind::Micro { .. })
}

fn counted(graph: &Graph) -> Vec<Crossing> {
    let counts = |c: &Crossing| !c.input && matches!(c.phase, Phase::Forward | Phase::Backward);
    crossings(graph).into_iter().filter(counts).collect()
}
