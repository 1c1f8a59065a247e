//! What a plan needs: the exact peak by part, and the lines alive when temporaries are at their most.

use std::fmt;

use mlc_diag::{SourceMap, Span};
use mlc_ir::Device;
use mlc_ir::loops::{ArenaKind, CallId, Plan, Role};

use super::Packing;

/// The memory of one plan. The sum of the parts is the peak.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryReport {
    pub parts: Vec<Part>,
    /// Per device: bytes of temporaries that no plan of this order can go below.
    pub lower_bounds: Vec<(Device, u64)>,
    /// The call at which most bytes of temporaries are alive, and what is alive then, largest first.
    pub peak_call: Option<CallId>,
    pub alive: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub device: Device,
    pub kind: ArenaKind,
    pub bytes: u64,
}

/// A temporary that is alive at the peak.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub bytes: u64,
    pub name: String,
    pub scope: String,
    /// Where it is computed, and where it is read last.
    pub born: Span,
    pub kept_for: Span,
}

impl MemoryReport {
    /// All bytes on a device.
    pub fn peak(&self, device: Device) -> u64 {
        self.parts.iter().filter(|p| p.device == device).map(|p| p.bytes).sum()
    }

    /// The report as text, with positions from `sources`.
    pub fn text(&self, sources: &SourceMap) -> String {
        let mut out = self.to_string();
        for line in self.alive.iter().take(20) {
            let place = |span: Span| match sources.locate(span) {
                s if s.is_empty() => "compiler".to_string(),
                s => s,
            };
            let (born, kept) = (place(line.born), place(line.kept_for));
            out += &format!(
                "  {:>12}  {:<24} {:<20} born {born}, kept for {kept}\n",
                line.bytes, line.name, line.scope
            );
        }
        out
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut devices: Vec<Device> = self.parts.iter().map(|p| p.device).collect();
        devices.sort();
        devices.dedup();
        for device in devices {
            writeln!(f, "memory {device}: {} bytes", self.peak(device))?;
            for p in self.parts.iter().filter(|p| p.device == device && p.bytes > 0) {
                writeln!(f, "  {:>12}  {}", p.bytes, kind_name(p.kind))?;
            }
            for (_, bound) in self.lower_bounds.iter().filter(|b| b.0 == device) {
                writeln!(f, "  {bound:>12}  lower bound of temp")?;
            }
        }
        if let Some(call) = self.peak_call {
            writeln!(f, "alive at {call}, where temporaries are at their most:")?;
        }
        Ok(())
    }
}

pub(crate) fn kind_name(kind: ArenaKind) -> &'static str {
    match kind {
        ArenaKind::State => "state",
        ArenaKind::Const => "const",
        ArenaKind::Io => "io",
        ArenaKind::Temp => "temp",
        ArenaKind::Scratch => "scratch",
    }
}

pub(super) fn report(plan: &Plan, packings: &[(Device, Packing)]) -> MemoryReport {
    let mut parts: Vec<Part> =
        plan.arenas.iter().map(|a| Part { device: a.device, kind: a.kind, bytes: a.bytes }).collect();
    parts.sort_by_key(|p| (p.device, p.kind));
    let peak_call = peak_call(plan);
    let alive = peak_call.map_or(vec![], |at| alive(plan, at));
    let lower_bounds = packings.iter().map(|(d, p)| (*d, p.lower_bound)).collect();
    MemoryReport { parts, lower_bounds, peak_call, alive }
}

/// The first call at which most bytes of temporaries are alive.
fn peak_call(plan: &Plan) -> Option<CallId> {
    let calls = plan.program.calls.len();
    let mut change = vec![0i128; calls + 1];
    for (b, p) in plan.program.buffers.iter().zip(&plan.places) {
        if let (Role::Temp, Some((first, last))) = (b.role, p.live) {
            change[first.ix()] += i128::from(p.bytes);
            change[last.ix() + 1] -= i128::from(p.bytes);
        }
    }
    let mut live = 0;
    let mut best = (0, None);
    for (i, c) in change.iter().enumerate().take(calls) {
        live += c;
        if live > best.0 {
            best = (live, Some(CallId(i as u32)));
        }
    }
    best.1
}

fn alive(plan: &Plan, at: CallId) -> Vec<Line> {
    let program = &plan.program;
    let mut lines: Vec<Line> = program
        .buffers
        .iter()
        .zip(&plan.places)
        .filter_map(|(b, p)| {
            let (first, last) = p.live?;
            let here = b.role == Role::Temp && first <= at && at <= last;
            here.then(|| Line {
                bytes: p.bytes,
                name: b.name.to_string(),
                scope: b.prov.scope.to_string(),
                born: b.prov.span,
                kept_for: program.calls[last.ix()].prov.span,
            })
        })
        .collect();
    lines.sort_by_key(|l| std::cmp::Reverse(l.bytes));
    lines
}
