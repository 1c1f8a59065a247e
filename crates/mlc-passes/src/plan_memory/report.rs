//! What a plan needs: the exact peak by part, and the values alive when temporaries are at their most.
//!
//! The report is typed: who shows it decides how. Positions are spans, for whoever has the sources.

use std::sync::Arc;

use mlc_diag::Span;
use mlc_ir::Device;
use mlc_ir::loops::{ArenaKind, BufferId, CallId, Phase, Plan};

use super::{Lives, profile};

/// The memory of one plan. On each device the sum of the parts is the peak, and what a session allocates.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryReport {
    /// One for each arena.
    pub parts: Vec<Part>,
    /// One for each device with temporaries.
    pub temps: Vec<TempPeak>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub device: Device,
    pub kind: ArenaKind,
    pub bytes: u64,
}

/// The moment at which most bytes of temporaries are alive on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct TempPeak {
    pub device: Device,
    /// Bytes alive then. No plan of this order needs less; what the arena has more is lost between blocks.
    pub live: u64,
    pub call: CallId,
    /// What runs then, and for which line.
    pub kernel: Arc<str>,
    pub at: Span,
    pub phase: Phase,
    /// Largest first.
    pub alive: Vec<Alive>,
}

/// A temporary that is alive at the peak.
#[derive(Debug, Clone, PartialEq)]
pub struct Alive {
    pub buffer: BufferId,
    pub bytes: u64,
    pub name: Arc<str>,
    /// The submodel that computes it: `blocks.3.attn`.
    pub scope: Arc<str>,
    /// The expression that computes it, and the one that reads it last.
    pub born: Span,
    pub kept_for: Span,
    /// In which phase of a step it is computed and read last.
    pub phases: (Phase, Phase),
}

/// Values that stand for one another: the same lines of the source in scopes that differ in numbers only.
#[derive(Debug, Clone, PartialEq)]
pub struct AliveRow {
    /// `blocks.*.attn` for several, else the scope itself.
    pub scope: String,
    pub count: usize,
    /// All of them together.
    pub bytes: u64,
    /// The name of the first.
    pub name: Arc<str>,
    pub born: Span,
    pub kept_for: Span,
    pub phases: (Phase, Phase),
}

impl MemoryReport {
    /// The parts alone, which a plan says by itself.
    pub fn of_arenas(plan: &Plan) -> MemoryReport {
        let part = |a: &mlc_ir::loops::Arena| Part { device: a.device, kind: a.kind, bytes: a.bytes };
        let mut parts: Vec<Part> = plan.arenas.iter().map(part).collect();
        parts.sort_by_key(|p| (p.device, p.kind));
        MemoryReport { parts, temps: vec![] }
    }

    /// All bytes on a device.
    pub fn peak(&self, device: Device) -> u64 {
        self.of(device).fold(0, |n, p| n.saturating_add(p.bytes))
    }

    /// All bytes on all devices.
    pub fn total(&self) -> u64 {
        self.parts.iter().fold(0, |n, p| n.saturating_add(p.bytes))
    }

    /// Bytes of one kind on a device.
    pub fn part(&self, device: Device, kind: ArenaKind) -> u64 {
        self.of(device).filter(|p| p.kind == kind).map(|p| p.bytes).sum()
    }

    pub fn devices(&self) -> Vec<Device> {
        let mut devices: Vec<Device> = self.parts.iter().map(|p| p.device).collect();
        devices.sort();
        devices.dedup();
        devices
    }

    fn of(&self, device: Device) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |p| p.device == device)
    }

    /// The devices that need more than `limit`.
    pub fn over(&self, limit: u64) -> Vec<Device> {
        self.devices().into_iter().filter(|&d| self.peak(d) > limit).collect()
    }

    pub fn temps_of(&self, device: Device) -> Option<&TempPeak> {
        self.temps.iter().find(|t| t.device == device)
    }
}

impl TempPeak {
    /// The values that are alive, alike ones in one row; most bytes first.
    pub fn rows(&self) -> Vec<AliveRow> {
        let alike = |a: &Alive| (a.born, a.kept_for, a.phases, a.bytes);
        let row = |(scope, of): (String, Vec<&Alive>)| AliveRow {
            scope,
            count: of.len(),
            bytes: of.iter().map(|a| a.bytes).sum(),
            name: of[0].name.clone(),
            born: of[0].born,
            kept_for: of[0].kept_for,
            phases: of[0].phases,
        };
        let mut rows: Vec<AliveRow> =
            grouped(&self.alive, |a| &a.scope, alike).into_iter().map(row).collect();
        rows.sort_by_key(|r| std::cmp::Reverse(r.bytes));
        rows
    }
}

/// Puts items together whose scopes differ in numbers only and whose keys are equal, in order of their firsts.
/// With each group its scope: `blocks.*` where there are several.
pub(crate) fn grouped<T, K: std::hash::Hash + Eq>(
    items: &[T],
    scope: impl Fn(&T) -> &str,
    key: impl Fn(&T) -> K,
) -> Vec<(String, Vec<&T>)> {
    let mut groups: Vec<(String, Vec<&T>)> = vec![];
    let mut known = rustc_hash::FxHashMap::default();
    for item in items {
        let starred = numbers_starred(scope(item));
        let i = *known.entry((starred.clone(), key(item))).or_insert_with(|| {
            groups.push((scope(item).to_string(), vec![]));
            groups.len() - 1
        });
        if groups[i].0 != scope(item) {
            groups[i].0 = starred;
        }
        groups[i].1.push(item);
    }
    groups
}

/// `blocks.3.attn` as `blocks.*.attn`.
fn numbers_starred(scope: &str) -> String {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = scope.split('.').map(|s| if number(s) { "*" } else { s }).collect();
    parts.join(".")
}

/// `state`, `const`, `io`, `temp`, `scratch`: as plans are printed.
pub fn kind_name(kind: ArenaKind) -> &'static str {
    match kind {
        ArenaKind::State => "state",
        ArenaKind::Const => "const",
        ArenaKind::Io => "io",
        ArenaKind::Temp => "temp",
        ArenaKind::Scratch => "scratch",
    }
}

pub(super) fn report(plan: &Plan, spans: &Lives) -> MemoryReport {
    let MemoryReport { parts, .. } = MemoryReport::of_arenas(plan);
    let temps = parts.iter().filter(|p| p.kind == ArenaKind::Temp);
    let temps = temps.filter_map(|p| temp_peak(plan, spans, p.device)).collect();
    MemoryReport { parts, temps }
}

/// The first call at which most bytes are alive.
fn temp_peak(plan: &Plan, spans: &Lives, device: Device) -> Option<TempPeak> {
    let program = &plan.program;
    let profile = profile(program, spans, Some(device));
    let live = profile.iter().copied().max().filter(|&n| n > 0)?;
    let at = profile.iter().position(|&n| n == live)?;
    let (id, call) = (CallId(at as u32), &program.calls[at]);
    let mut alive: Vec<Alive> = vec![];
    for (i, (b, span)) in program.buffers.iter().zip(spans).enumerate() {
        let here = b.device == device && span.is_some_and(|(first, last)| first <= id && id <= last);
        let Some((_, last)) = plan.places[i].live.filter(|_| here) else { continue };
        let reader = &program.calls[last.ix()].prov;
        alive.push(Alive {
            buffer: BufferId(i as u32),
            bytes: b.bytes(),
            name: b.name.clone(),
            scope: b.prov.scope.clone(),
            born: b.prov.span,
            kept_for: reader.span,
            phases: (b.prov.phase, reader.phase),
        });
    }
    alive.sort_by_key(|a| std::cmp::Reverse(a.bytes));
    let kernel = program.kernel_of(call).name.clone();
    Some(TempPeak { device, live, call: id, kernel, at: call.prov.span, phase: call.prov.phase, alive })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_differ_in_numbers() {
        let starred = ["", "fc1", "blocks.12.attn", "3", "b2.c"].map(numbers_starred);
        assert_eq!(starred, ["", "fc1", "blocks.*.attn", "*", "b2.c"]);
    }
}
