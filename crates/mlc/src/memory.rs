//! Memory reports with the source: rows for who shows them, and what to do where a plan does not fit.

use mlc_diag::{Diagnostic, SourceMap, Span, bytes};
use mlc_ir::loops::{ArenaKind, Phase, Plan};
use mlc_ir::{Binding, Device, Dim, Symbol};
use mlc_passes::plan_memory::{Blocker, MemoryReport, TempPeak, blockers};
use mlc_passes::remat::Recomputed;

use crate::Program;

/// Values of one expression, as a report shows them.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryRow {
    pub bytes: u64,
    /// Of how many values.
    pub count: usize,
    /// The source text, shortened.
    pub name: String,
    /// The submodel, `blocks.*` for several.
    pub scope: String,
    /// `model.mlg:7`: where it is computed.
    pub born: String,
    /// Where it is read last; empty for what is not kept.
    pub kept_for: String,
    /// What computing it again costs, for what is computed again.
    pub ms: Option<f64>,
}

/// What is alive at the peak, most bytes first.
pub fn alive_rows(peak: &TempPeak, sources: &SourceMap) -> Vec<MemoryRow> {
    let row = |r: mlc_passes::plan_memory::AliveRow| MemoryRow {
        bytes: r.bytes,
        count: r.count,
        name: name(sources, r.born, &r.name),
        scope: r.scope,
        born: place(sources, r.born, r.phases.0),
        kept_for: place(sources, r.kept_for, r.phases.1),
        ms: None,
    };
    peak.rows().into_iter().map(row).collect()
}

/// What is computed again, most bytes first.
pub fn recomputed_rows(recomputed: &Recomputed, sources: &SourceMap) -> Vec<MemoryRow> {
    let row = |r: mlc_passes::remat::RecomputedRow| MemoryRow {
        bytes: r.bytes,
        count: r.count,
        name: name(sources, r.span, &r.name),
        scope: r.scope,
        born: place(sources, r.span, Phase::Forward),
        kept_for: String::new(),
        ms: Some(r.ns / 1e6),
    };
    recomputed.rows().into_iter().map(row).collect()
}

/// The source text of an expression, on one line and at most this long; the buffer's name where there is none.
fn name(sources: &SourceMap, span: Span, fallback: &str) -> String {
    const MOST: usize = 32;
    let text = sources.snippet(span).split_whitespace().collect::<Vec<_>>().join(" ");
    match text.chars().count() {
        0 => fallback.to_string(),
        n if n <= MOST => text,
        _ => text.chars().take(MOST - 2).chain("..".chars()).collect(),
    }
}

fn place(sources: &SourceMap, span: Span, phase: Phase) -> String {
    let at = match line(sources, span) {
        at if at.is_empty() => "the compiler's own work".to_string(),
        at => at,
    };
    match phase {
        Phase::Forward | Phase::Infra => at,
        Phase::Backward => format!("{at} (backward)"),
        Phase::Update => format!("{at} (update)"),
    }
}

/// `model.mlg:7`.
fn line(sources: &SourceMap, span: Span) -> String {
    let at = sources.line_col(span);
    at.map_or(String::new(), |(line, _)| format!("{}:{line}", sources.name(span.source)))
}

/// What a part of a plan's memory holds.
pub fn part_name(kind: ArenaKind) -> &'static str {
    match kind {
        ArenaKind::State => "state (parameters, optimizer, buffers)",
        ArenaKind::Const => "constants",
        ArenaKind::Io => "inputs and results",
        ArenaKind::Temp => "values between kernels",
        ArenaKind::Scratch => "working memory of kernels",
    }
}

/// The largest batch whose plan fits.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRepair {
    pub dim: Symbol,
    pub now: i64,
    pub fits: i64,
    /// Bytes on the device then.
    pub peak: u64,
}

/// Why an entry does not fit, and what would help.
#[derive(Debug, Clone)]
pub struct Unfit {
    pub entry: String,
    pub device: Device,
    pub peak: u64,
    pub limit: u64,
    /// Of the best plan found.
    pub memory: MemoryReport,
    /// What that plan computes again; not enough.
    pub recomputed: Option<Recomputed>,
    /// Values that could not be overwritten, with what reads them again.
    pub blockers: Vec<Blocker>,
    pub batch: Option<BatchRepair>,
    /// The entry comes from an artifact: its plan is what it is.
    pub fixed: bool,
}

impl Program {
    /// Why a plan does not fit into the compiler's memory limit; `None` where it does or there is no limit.
    pub fn unfit(
        &self,
        entry: &str,
        binding: &Binding,
        plan: &Plan,
        memory: &MemoryReport,
        recomputed: Option<&Recomputed>,
    ) -> Option<Unfit> {
        let limit = self.memory_limit()?;
        let device = *memory.over(limit).first()?;
        let peak_call = memory.temps_of(device).map(|t| t.call);
        let mut unfit = Unfit {
            entry: entry.to_string(),
            device,
            peak: memory.peak(device),
            limit,
            memory: memory.clone(),
            recomputed: recomputed.cloned(),
            blockers: peak_call.map_or(vec![], |at| blockers(plan, device, at)),
            batch: None,
            fixed: self.is_loaded(),
        };
        // A smaller batch leaves the state as it is.
        if !unfit.fixed && unfit.memory.part(device, ArenaKind::State) < limit {
            unfit.batch = self.smaller_batch(entry, binding, device, limit);
        }
        Some(unfit)
    }

    /// Plans for half the batch, a quarter, ... until one fits, then between that and the last that does not.
    fn smaller_batch(
        &self,
        entry: &str,
        binding: &Binding,
        device: Device,
        limit: u64,
    ) -> Option<BatchRepair> {
        const REFINEMENTS: usize = 3;
        let dim = self.batch_dim(entry)?;
        let now = *binding.get(&dim)?;
        let peak_of = |n: i64| {
            let mut smaller = binding.clone();
            smaller.insert(dim.clone(), n);
            let peak = self.lower(entry, &smaller).ok()?.memory.peak(device);
            (peak <= limit).then_some(peak)
        };
        let (mut fits, mut too_large) = (now / 2, now);
        let mut peak = loop {
            match peak_of(fits) {
                _ if fits == 0 => return None,
                Some(peak) => break peak,
                None => (fits, too_large) = (fits / 2, fits),
            }
        };
        for _ in 0..REFINEMENTS {
            let middle = i64::midpoint(fits, too_large);
            if middle == fits {
                break;
            }
            match peak_of(middle) {
                Some(p) => (fits, peak) = (middle, p),
                None => too_large = middle,
            }
        }
        Some(BatchRepair { dim, now, fits, peak })
    }

    /// The dim that is the first of an input, by itself.
    fn batch_dim(&self, entry: &str) -> Option<Symbol> {
        let entry = self.find_entry(entry).ok()?;
        entry.inputs.iter().find_map(|i| {
            let first = i.ty.shape.first()?;
            let [name] = &first.symbols()[..] else { return None };
            (*first == Dim::sym(name.clone())).then(|| name.clone())
        })
    }
}

impl Unfit {
    /// E0520 with everything that is known about it.
    pub fn diagnostic(&self, sources: &SourceMap) -> Diagnostic {
        const ROWS: usize = 8;
        let (need, limit) = (bytes(self.peak), bytes(self.limit));
        let title =
            format!("`{}` needs {need} on {}, more than the limit of {limit}", self.entry, self.device);
        let mut d = Diagnostic::error("E0520", title);
        let here = self.memory.parts.iter().filter(|p| p.device == self.device && p.bytes > 0);
        for part in here {
            d = d.note(format!("{} for {}", bytes(part.bytes), part_name(part.kind)));
        }
        if let Some(peak) = self.memory.temps_of(self.device) {
            for a in largest(peak) {
                d = d.label(a.born, format!("{} are kept for {}", bytes(a.bytes), line(sources, a.kept_for)));
            }
            let rows = alive_rows(peak, sources);
            let at = place(sources, peak.at, peak.phase);
            d = d.note(format!("most is alive at {at}: {}", bytes(peak.live)));
            for r in rows.iter().take(ROWS) {
                d = d.note(row_text(r));
            }
            if rows.len() > ROWS {
                let rest = rows[ROWS..].iter().map(|r| r.bytes).sum();
                d = d.note(format!("{} in {} more expressions", bytes(rest), rows.len() - ROWS));
            }
        }
        if let Some(r) = &self.recomputed {
            let text = format!(
                "computing values again in the backward is not enough: from {} to {}, for about {:.1} ms",
                bytes(r.before),
                bytes(r.after),
                r.ns() / 1e6
            );
            d = d.note(text);
        }
        for b in self.blockers.iter().take(3) {
            d = d.note(blocker_text(b, sources));
        }
        d.hint(self.advice())
    }

    fn advice(&self) -> String {
        if self.memory.part(self.device, ArenaKind::State) > self.limit {
            return "the parameters and their optimizer state alone are too large: make the model smaller"
                .into();
        }
        if self.fixed {
            return "give the limit to `mlc compile`, which plans for it".into();
        }
        match &self.batch {
            Some(b) => format!(
                "`{} = {}` fits ({}); `accumulate` keeps the update the same",
                b.dim,
                b.fits,
                bytes(b.peak)
            ),
            None => "no batch fits: make the model smaller, or raise the limit".into(),
        }
    }
}

/// The largest three with a place in the source, each place once.
fn largest(peak: &TempPeak) -> Vec<&mlc_passes::plan_memory::Alive> {
    let mut found: Vec<&mlc_passes::plan_memory::Alive> = vec![];
    for a in peak.alive.iter().filter(|a| !a.born.is_none()) {
        if found.len() < 3 && !found.iter().any(|f| f.born == a.born) {
            found.push(a);
        }
    }
    found
}

/// `12.0 MiB (4 values) gelu(fc1(x)) in blocks.*: from gpt.mlg:17, kept for gpt.mlg:17 (backward)`.
fn row_text(r: &MemoryRow) -> String {
    let count = if r.count > 1 { format!(" ({} values)", r.count) } else { String::new() };
    let scope = if r.scope.is_empty() { String::new() } else { format!(" in {}", r.scope) };
    let (size, name, born, kept) = (bytes(r.bytes), &r.name, &r.born, &r.kept_for);
    format!("{size}{count} `{name}`{scope}: from {born}, kept for {kept}")
}

/// `` `norm1(x)` (12 MiB) cannot be overwritten at m.mlg:9: read again at m.mlg:31 ``.
pub fn blocker_text(b: &Blocker, sources: &SourceMap) -> String {
    format!(
        "`{}` ({}) cannot be overwritten at {}: read again at {}",
        name(sources, b.born, &b.name),
        bytes(b.bytes),
        line(sources, b.overwriter),
        line(sources, b.read_again)
    )
}
