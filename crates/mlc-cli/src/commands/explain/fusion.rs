//! `mlc explain fusion`: the kernels of an entry with the lines that each holds, and why neighbours are not
//! one kernel.
//!
//! ```text
//! == fusion train.step ==
//! 9 kernels
//!
//! kernel 1: matrix product
//!   net.mlg:6:18        contract, add
//!   net.mlg:6:13        le, select
//!   reads fc1.bias, fc1.weight, div %6
//!   writes select %16, 32,768 bytes: another kernel reads it
//!
//! why not one kernel
//!   max (net.mlg:22:37) and add (net.mlg:6:9): it reads a matrix product, ..
//! ```

use std::fmt::Write;

use mlc::Program;
use mlc::diag::Span;
use mlc::ir::graph::Phase;
use mlc::passes::Decision;
use mlc::passes::Lowered;
use mlc::passes::form_kernels::{Held, KernelNote};

use super::on_line;
use crate::text;

/// What there is to say about an entry, or about one of its lines; empty for nothing.
pub fn describe(program: &Program, lowered: &Lowered, line: Option<u32>) -> String {
    let mut out = String::new();
    let here = |span: Span| on_line(program, span, line);
    let numbered = lowered.kernels.iter().enumerate();
    let shown: Vec<(usize, &KernelNote)> =
        numbered.filter(|(_, k)| k.holds.iter().any(|h| here(h.span))).collect();
    if line.is_none() && !lowered.kernels.is_empty() {
        let n = lowered.kernels.len();
        let _ = writeln!(out, "{n} {}", if n == 1 { "kernel" } else { "kernels" });
    }
    for (i, kernel) in shown {
        let _ = writeln!(out, "\nkernel {}: {}", i + 1, kernel.kind);
        held(&mut out, program, &kernel.holds);
        if !kernel.reads.is_empty() {
            let _ = writeln!(out, "  reads {}", kernel.reads.join(", "));
        }
        for w in &kernel.writes {
            let _ = writeln!(out, "  writes {}, {}: {}", w.value, text::bytes(w.bytes), w.why);
        }
    }
    let about = |d: &&Decision| line.is_none() || d.spans.iter().any(|&s| here(s));
    section(&mut out, program, "why not one kernel", lowered, |d| d.verdict == "not fused" && about(d));
    let memory = ["stored", "recomputed", "in place", "copied"];
    section(&mut out, program, "memory", lowered, |d| memory.contains(&d.verdict) && about(d));
    out
}

/// The ops of a kernel by the place in the source that they come from.
fn held(out: &mut String, program: &Program, holds: &[Held]) {
    let mut lines: Vec<(String, Vec<&str>)> = vec![];
    for h in holds {
        let place = program.sources().locate(h.span);
        let phase = if h.phase == Phase::Forward { String::new() } else { format!(" ({})", h.phase.name()) };
        let again = if h.again { " again" } else { "" };
        let place = format!("{}{phase}{again}", if place.is_empty() { "the compiler" } else { &place });
        match lines.iter_mut().find(|l| l.0 == place) {
            Some(l) => l.1.push(&h.op),
            None => lines.push((place, vec![&h.op])),
        }
    }
    let width = lines.iter().map(|l| l.0.len()).max().unwrap_or(0);
    for (place, ops) in lines {
        let _ = writeln!(out, "  {place:width$}  {}", ops.join(", "));
    }
}

fn section(
    out: &mut String,
    program: &Program,
    title: &str,
    lowered: &Lowered,
    which: impl Fn(&&Decision) -> bool,
) {
    let mut said: Vec<String> = vec![];
    for d in lowered.decisions.iter().filter(|d| d.pass != "place").filter(|d| which(d)) {
        let places: Vec<String> = d.spans.iter().map(|&s| program.sources().locate(s)).collect();
        let verdict = if d.verdict == "not fused" { String::new() } else { format!(" {}", d.verdict) };
        let at = if places.is_empty() { String::new() } else { format!("  [{}]", places.join(" / ")) };
        let sentence = format!("  {}{verdict}: {}{at}\n", d.subject, d.reason);
        if !said.contains(&sentence) {
            said.push(sentence);
        }
    }
    if !said.is_empty() {
        let _ = write!(out, "\n{title}\n{}", said.concat());
    }
}
