//! Why values could not take over the memory of others: what is read again later.

use std::sync::Arc;

use mlc_diag::Span;
use mlc_ir::Device;
use mlc_ir::loops::{ArgId, CallId, Mode, Plan, Role};
use mlc_ir::lower::alias::candidates;

/// A value that a kernel could overwrite with its result, were it not read again. Both are alive at the peak.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocker {
    pub bytes: u64,
    pub name: Arc<str>,
    pub scope: Arc<str>,
    /// The expression that computes it, the one that could overwrite it, and the next one that reads it.
    pub born: Span,
    pub overwriter: Span,
    pub read_again: Span,
}

/// The blockers at the peak call `peak` of a device, largest first.
pub fn blockers(plan: &Plan, device: Device, peak: CallId) -> Vec<Blocker> {
    let program = &plan.program;
    let alive = |b: usize| {
        let buffer = &program.buffers[b];
        let here = plan.places[b].live.is_some_and(|(first, last)| first <= peak && peak <= last);
        here && buffer.role == Role::Temp && buffer.device == device
    };
    let mut found: Vec<Blocker> = vec![];
    for (i, call) in program.calls.iter().enumerate().take(peak.ix() + 1) {
        let kernel = program.kernel_of(call);
        let written = (0..kernel.args.len() as u32).map(ArgId).filter(|a| {
            let donated = call.donates.iter().any(|d| d.1 == *a);
            kernel.arg(*a).mode == Mode::Write && !donated && alive(call.args[a.ix()].buffer.ix())
        });
        for read in written.flat_map(|w| candidates(kernel, w)) {
            let b = call.args[read.ix()].buffer;
            let again = program.calls[i + 1..].iter().find(|c| c.args.iter().any(|s| s.buffer == b));
            if let (true, Some(again)) = (alive(b.ix()), again) {
                let buffer = program.buffer(b);
                found.push(Blocker {
                    bytes: buffer.bytes(),
                    name: buffer.name.clone(),
                    scope: buffer.prov.scope.clone(),
                    born: buffer.prov.span,
                    overwriter: call.prov.span,
                    read_again: again.prov.span,
                });
            }
        }
    }
    found.sort_by_key(|b| std::cmp::Reverse(b.bytes));
    found
}
