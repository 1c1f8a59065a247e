//! `mlc explain E0203`, and `mlc explain fusion|precision|transfers FILE [ENTRY] [LINE]`.

mod fusion;

use std::fmt::Write;

use mlc::diag::catalogue::ENTRIES;
use mlc::diag::{Diagnostic, Diagnostics, Span};
use mlc::ir::Binding;
use mlc::ir::graph::{Phase, Stage};
use mlc::ir::program::Entry;
use mlc::passes::crossings;
use mlc::{Error, Program};

use crate::args::ExplainArgs;
use crate::show::{Show, err, out};
use crate::{entries, exit, parse, sizes, suggest, text};

pub fn run(a: &ExplainArgs, show: &Show) -> Result<u8, Error> {
    match a.what.as_str() {
        "fusion" | "transfers" => why(a, show),
        "precision" => {
            let d = Diagnostic::error("E0916", "`mlc explain precision` is not built yet");
            Err(Error::plain(
                d.hint("mixed precision is not built yet: everything runs in the dtypes that are written"),
            ))
        }
        code => {
            if let Some(file) = &a.file {
                let d = Diagnostic::error(
                    "E0912",
                    format!("`mlc explain {code}` takes no file (`{}`)", file.display()),
                );
                return Err(Error::plain(
                    d.hint("with a file: `mlc explain fusion|precision|transfers FILE [ENTRY] [LINE]`"),
                ));
            }
            explain_code(code)
        }
    }
}

fn explain_code(code: &str) -> Result<u8, Error> {
    let wanted = code.to_ascii_uppercase();
    let Some(entry) = ENTRIES.iter().find(|e| e.code == wanted) else {
        let words = ["fusion", "precision", "transfers"];
        let d = Diagnostic::error("E0915", format!("there is no diagnostic `{code}`"));
        let d = d.note(format!("codes run from {} to {}", ENTRIES[0].code, ENTRIES[ENTRIES.len() - 1].code));
        return Err(Error::plain(suggest::hint(d, &wanted, ENTRIES.iter().map(|e| e.code).chain(words))));
    };
    out(&format!("{}: {}\n\n{}\n", entry.code, entry.title, entry.text));
    Ok(exit::OK)
}

/// What the passes decided.
fn why(a: &ExplainArgs, show: &Show) -> Result<u8, Error> {
    let Some(file) = &a.file else {
        return Err(parse::usage(
            format!("`mlc explain {}` needs a file", a.what),
            &format!("write `mlc explain {} FILE [ENTRY] [LINE]`", a.what),
        ));
    };
    // `mlc explain fusion FILE 12`: a number alone is a line.
    let (entry, line) = match (a.entry.as_deref(), a.line) {
        (Some(e), None) if e.parse::<u32>().is_ok() => (None, e.parse().ok()),
        (e, line) => (e, line),
    };
    let program = super::compiled(file, parse::compiler(&a.options)?, show)?;
    let names = entries::for_compile(&program, entry)?;
    let mut said = String::new();
    let mut open = Diagnostics::new();
    for name in &names {
        let e = program.entry(name)?;
        let lines = match a.what.as_str() {
            "transfers" => transfers(&program, e, line)?,
            _ => match sizes::all(&program, e, None) {
                Ok(binding) => fusion(&program, e, &binding, line)?,
                Err(error) if entry.is_some() => return Err(error),
                Err(error) => {
                    open.extend(error.diagnostics);
                    continue;
                }
            },
        };
        if !lines.is_empty() {
            let _ = write!(said, "== {} {name} ==\n{lines}", a.what);
        }
    }
    out(&said);
    if said.is_empty() && open.is_empty() {
        let at = line.map_or(String::new(), |l| format!(" about line {l}"));
        err(&format!("no decisions{at}\n"));
    }
    for d in open {
        err(&format!("skipped: {}\n", d.title));
    }
    Ok(exit::OK)
}

fn transfers(program: &Program, entry: &Entry, line: Option<u32>) -> Result<String, Error> {
    let graph = program.graph(&entry.name, Stage::Differentiated, &Binding::new())?;
    let mut text = String::new();
    for c in crossings(&graph).iter().filter(|c| on_line(program, c.span, line)) {
        let bytes =
            c.bytes.as_const().map_or_else(|| format!("{} bytes", c.bytes), |n| text::bytes(n as u64));
        let mut why = vec![];
        if c.input {
            why.push("an input on its way: counts for no contract");
        }
        if c.phase == Phase::Backward {
            why.push("the gradient of a crossing");
        }
        why.push(if c.explicit { "written `.to`" } else { "inserted: its user is there" });
        let _ = writeln!(
            text,
            "  {} -> {}  {bytes}  {}  ({})",
            c.from,
            c.to,
            program.sources().locate(c.span),
            why.join("; ")
        );
    }
    Ok(text)
}

fn fusion(program: &Program, entry: &Entry, binding: &Binding, line: Option<u32>) -> Result<String, Error> {
    Ok(fusion::describe(program, &program.lower(&entry.name, binding)?, line))
}

/// Does a span begin in this line of the main file?
fn on_line(program: &Program, span: Span, line: Option<u32>) -> bool {
    line.is_none_or(|l| program.sources().line_col(span).is_some_and(|(at, _)| at == l as usize))
}
