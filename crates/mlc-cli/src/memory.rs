//! Memory of plans as text: the peak by part, the lines alive at it, what is computed again.

use std::fmt::Write;

use mlc::ir::Binding;
use mlc::passes::Lowered;
use mlc::passes::plan_memory::MemoryReport;
use mlc::passes::remat::Recomputed;
use mlc::{Error, MemoryRow, Program};

use crate::text;

/// Rows of a table before the rest is summed up.
const MOST_ROWS: usize = 8;

/// The plan of an entry for these dims, and the error for one that does not fit.
pub fn plan(program: &Program, entry: &str, binding: &Binding) -> Result<(Lowered, Option<Error>), Error> {
    let lowered = program.lower(entry, binding)?;
    let unfit = program.unfit(entry, binding, &lowered.plan, &lowered.memory, lowered.recomputed.as_ref());
    let error = unfit.map(|u| Error::new(u.diagnostic(program.sources()), program.sources()));
    Ok((lowered, error))
}

/// The block of `mlc check` about one entry.
pub fn block(program: &Program, entry: &str, binding: &Binding, lowered: &Lowered) -> String {
    let dims: String = binding.iter().map(|(n, v)| format!(", {n}={v}")).collect();
    let limit = program.memory_limit();
    let verdict = match limit {
        None => String::new(),
        Some(l) if lowered.memory.over(l).is_empty() => format!(", fits in {}", text::bytes(l)),
        Some(l) => format!(", does not fit in {}", text::bytes(l)),
    };
    let peak = text::bytes(lowered.memory.total());
    let mut out = format!("\n  {entry}{dims}: {peak} at its peak{verdict}\n");
    out += &parts(&lowered.memory);
    for peak in &lowered.memory.temps {
        let rows = mlc::alive_rows(peak, program.sources());
        let _ = writeln!(out, "    alive at the peak{}:", on(&lowered.memory, peak.device));
        out += &table(&rows);
    }
    if let Some(r) = &lowered.recomputed {
        let _ = writeln!(out, "    {}:", recomputed(r));
        out += &table(&mlc::recomputed_rows(r, program.sources()));
    }
    out
}

/// `computed again instead of kept: 1.00 GiB less, about 12 ms more`.
pub fn recomputed(r: &Recomputed) -> String {
    let saved = text::bytes(r.before.saturating_sub(r.after));
    format!("computed again in the backward: {saved} less, for about {} ms more", milliseconds(r.ns() / 1e6))
}

fn milliseconds(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}

fn parts(memory: &MemoryReport) -> String {
    let mut rows = vec![];
    for device in memory.devices() {
        for p in memory.parts.iter().filter(|p| p.device == device && p.bytes > 0) {
            let name = format!("{}{}", mlc::part_name(p.kind), on(memory, device));
            rows.push(vec![text::bytes(p.bytes), name]);
        }
    }
    indented(&text::table(&rows, &[true]))
}

/// Names the device where there are several.
fn on(memory: &MemoryReport, device: mlc::ir::Device) -> String {
    if memory.devices().len() > 1 { format!(" on {device}") } else { String::new() }
}

fn table(rows: &[MemoryRow]) -> String {
    let mut cells: Vec<Vec<String>> = vec![];
    for r in rows.iter().take(MOST_ROWS) {
        let count = if r.count > 1 { format!("{} x", r.count) } else { String::new() };
        let until = match r.ms {
            Some(ms) => format!("{} ms", milliseconds(ms)),
            None => format!("kept for {}", r.kept_for),
        };
        let (name, scope, born) = (r.name.clone(), r.scope.clone(), format!("born {}", r.born));
        cells.push(vec![text::bytes(r.bytes), count, name, scope, born, until]);
    }
    if rows.len() > MOST_ROWS {
        let rest = rows[MOST_ROWS..].iter().map(|r| r.bytes).sum();
        cells.push(vec![text::bytes(rest), String::new(), format!("in {} more", rows.len() - MOST_ROWS)]);
    }
    indented(&text::table(&cells, &[true, true]))
}

fn indented(table: &str) -> String {
    table.lines().map(|l| format!("    {l}\n")).collect()
}
