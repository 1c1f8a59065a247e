//! `transfers <= n per step`: a contract about what crosses between devices, held when a file is compiled.
//!
//! Forward crossings and their backward ones count, for each micro-batch; inputs, data, results and
//! what an update sends do not.

use std::collections::BTreeMap;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::Binding;
use mlc_ir::graph::{Graph, Phase, Stage};
use mlc_ir::program::{EntryKind, Program as Ir};
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
    let mut crossings: BTreeMap<&str, Vec<Crossing>> = BTreeMap::new();
    for entry in program.ir().entries.iter().filter(|e| matches!(e.kind, EntryKind::Pass { .. })) {
        let mut graph = entry.graph.clone();
        passes(program, &Binding::new()).stop_after(Stage::Differentiated).run(&mut graph)?;
        crossings.insert(&entry.name, counted(&graph));
    }
    let mut errors = Diagnostics::new();
    for names in micro_batches(program.ir()) {
        let counted: Vec<&Crossing> = names.iter().filter_map(|n| crossings.get(n)).flatten().collect();
        if counted.len() as u64 <= tightest.count {
            continue;
        }
        let step = match names[..] {
            [one] => format!("`{one}` has"),
            _ => format!("`{}` together have", names.join("`, `")),
        };
        let title = format!("{step} {} transfers, more than {}", counted.len(), tightest.count);
        let mut d = Diagnostic::error("E0502", title).label(tightest.span, "the limit");
        for c in counted {
            let phase = if c.phase == Phase::Backward { ", in the backward pass" } else { "" };
            d = d.label(c.span, format!("{} to {}: {} bytes{phase}", c.from, c.to, c.bytes));
        }
        errors.push(d.hint("put what exchanges values on one device, or raise the limit"));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What a micro-batch of an update goes through, each once, by the names of entries.
fn micro_batches(ir: &Ir) -> Vec<Vec<&str>> {
    let mut all: Vec<Vec<&str>> = vec![];
    for (i, train) in ir.trains.iter().enumerate() {
        let updates = train.updates();
        for calls in
            [true, false].iter().flat_map(|&last| updates.iter().filter_map(move |u| ir.calls(i, u, last)))
        {
            let names = calls.iter().map(|e| e.name.as_str()).collect();
            if !all.contains(&names) {
                all.push(names);
            }
        }
    }
    all
}

fn counted(graph: &Graph) -> Vec<Crossing> {
    let counts = |c: &Crossing| !c.input && matches!(c.phase, Phase::Forward | Phase::Backward);
    crossings(graph).into_iter().filter(counts).collect()
}
