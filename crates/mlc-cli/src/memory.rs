//! Memory of plans: how much, where, and whether it fits.

use std::collections::BTreeMap;
use std::sync::Arc;

use mlc::diag::Diagnostic;
use mlc::ir::loops::{ArenaKind, Plan};
use mlc::ir::{Binding, Device};
use mlc::{Error, Program};

use crate::text;

/// The plan of an entry; machine code is not made for it.
pub fn plan(program: &Program, entry: &str, binding: &Binding) -> Result<Arc<Plan>, Error> {
    match program.is_loaded() {
        true => Ok(program.bind(entry, binding)?.plan.clone()),
        false => Ok(Arc::new(program.lower(entry, binding)?.plan)),
    }
}

/// Bytes of a plan on each device: all arenas together, known before anything runs.
pub fn peaks(plan: &Plan) -> BTreeMap<Device, u64> {
    let mut peaks = BTreeMap::new();
    for a in &plan.arenas {
        *peaks.entry(a.device).or_insert(0) += a.bytes;
    }
    peaks
}

/// Bytes of one kind on all devices.
pub fn of_kind(plan: &Plan, kind: ArenaKind) -> u64 {
    plan.arenas.iter().filter(|a| a.kind == kind).map(|a| a.bytes).sum()
}

/// The error for a plan that does not fit, with what is alive at the peak.
pub fn check(program: &Program, entry: &str, plan: &Plan, limit: Option<u64>) -> Result<(), Error> {
    let Some(limit) = limit else { return Ok(()) };
    let over: Vec<(Device, u64)> = peaks(plan).into_iter().filter(|p| p.1 > limit).collect();
    let Some(&(device, bytes)) = over.first() else { return Ok(()) };
    let title = format!(
        "`{entry}` needs {} on {device}, more than the limit of {}",
        text::bytes(bytes),
        text::bytes(limit)
    );
    let mut d = Diagnostic::error("E0520", title);
    let parts = [
        (ArenaKind::State, "state (parameters, optimizer, buffers)"),
        (ArenaKind::Const, "constants"),
        (ArenaKind::Io, "inputs and results"),
        (ArenaKind::Temp, "intermediate values"),
        (ArenaKind::Scratch, "working memory of kernels"),
    ];
    for (kind, what) in parts {
        let n = of_kind(plan, kind);
        if n > 0 {
            d = d.note(format!("{}: {what}", text::bytes(n)));
        }
    }
    for (span, name, bytes) in largest(plan) {
        d = d.label(span, format!("{} for `{name}`", text::bytes(bytes)));
    }
    let hint = match of_kind(plan, ArenaKind::State) > limit {
        true => "the parameters and their optimizer state alone are too large: make the model smaller",
        false => "make the batch smaller, with `accumulate` to keep the update the same",
    };
    Err(Error::new(d.hint(hint), program.sources()))
}

/// The three largest intermediate values with a place in the source.
fn largest(plan: &Plan) -> Vec<(mlc::diag::Span, String, u64)> {
    let temps = plan.program.buffers.iter().filter(|b| b.role == mlc::ir::loops::Role::Temp);
    let mut all: Vec<_> = temps
        .filter(|b| !b.prov.span.is_none())
        .map(|b| (b.prov.span, b.name.to_string(), b.bytes()))
        .collect();
    all.sort_by_key(|b| std::cmp::Reverse(b.2));
    all.dedup_by_key(|b| b.0);
    all.truncate(3);
    all
}
