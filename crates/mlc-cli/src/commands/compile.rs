//! `mlc compile FILE`: every intermediate form as text, a summary of what was compiled, or an artifact.

use std::fmt::Write;

use mlc::diag::Diagnostic;
use mlc::ir::program::Entry;
use mlc::{EmitKind, Error, Program, emit_ast};

use super::artifact;
use crate::args::{CompileArgs, ModelArgs};
use crate::show::{Show, err, out};
use crate::{entries, exit, memory, parse, sizes, text};

pub fn run(a: &CompileArgs, show: &Show) -> Result<u8, Error> {
    if let Some(arch) = &a.arch {
        let d = Diagnostic::error(
            "E0590",
            format!("`--arch {arch}`: this build of mlc has no CUDA back end yet"),
        );
        return Err(Error::plain(d.hint("leave the option out and use `--target cpu`")));
    }
    let kinds: Vec<EmitKind> =
        a.emit.iter().map(|k| k.parse().map_err(Error::plain)).collect::<Result<_, _>>()?;
    if let Some(path) = &a.output {
        if !kinds.is_empty() {
            return Err(parse::usage(
                "`--emit` and `-o` at once",
                "print the forms with a command of their own",
            ));
        }
        return artifact::write(a, path, show);
    }
    if !kinds.is_empty() && kinds.iter().all(|k| !k.of_entry()) {
        return syntax_trees(a, &kinds);
    }
    let program = super::program(&a.model, show)?;
    let names = entries::for_compile(&program, a.entry.as_deref())?;
    let chosen: Vec<&Entry> = names.iter().map(|n| program.entry(n)).collect::<Result<_, _>>()?;
    sizes::check_options(&program, &chosen)?;
    if kinds.is_empty() {
        return summary(&program, &chosen, a.entry.is_some());
    }
    for kind in kinds {
        emit(&program, &a.model, kind, &chosen)?;
    }
    Ok(exit::OK)
}

/// Needs the text only: also for a file that does not check.
fn syntax_trees(a: &CompileArgs, kinds: &[EmitKind]) -> Result<u8, Error> {
    // A target that is not there is an error whatever is asked for.
    let target: mlc::Target = a.model.target.parse().map_err(Error::plain)?;
    target.device().map_err(Error::plain)?;
    for _ in kinds {
        out(&ast(&a.model)?);
    }
    Ok(exit::OK)
}

fn ast(a: &ModelArgs) -> Result<String, Error> {
    let name = a.file.display().to_string();
    let bytes = std::fs::read(&a.file).map_err(|e| Error::plain(super::fmt::unreadable(&a.file, &e)))?;
    Ok(format!("== ast {name} ==\n{}\n", emit_ast(&name, &bytes)?.trim_end()))
}

fn emit(program: &Program, a: &ModelArgs, kind: EmitKind, chosen: &[&Entry]) -> Result<(), Error> {
    if !kind.of_entry() {
        out(&ast(a)?);
        return Ok(());
    }
    for entry in chosen {
        let binding = match kind.needs_dims() {
            true => sizes::all(program, entry, None)?,
            false => sizes::known(program, entry, None),
        };
        let text = program.emit(kind, &entry.name, &binding)?;
        out(&format!("== {} {} ==\n{}\n", kind.name(), entry.name, text.trim_end()));
    }
    Ok(())
}

/// Compiles what has dims, and says what that gave.
fn summary(program: &Program, chosen: &[&Entry], named: bool) -> Result<u8, Error> {
    let mut rows = vec![];
    let mut notes = String::new();
    for entry in chosen {
        let binding = match sizes::all(program, entry, None) {
            Ok(binding) => binding,
            Err(e) if named => return Err(e),
            Err(_) => {
                let open = sizes::open_dims(entry, &sizes::known(program, entry, None));
                let options: Vec<String> = open.iter().map(|d| format!("--dim {d}=N")).collect();
                let _ = writeln!(notes, "skipped {}: give {} to compile it", entry.name, options.join(" "));
                continue;
            }
        };
        let start = std::time::Instant::now();
        let bound = program.bind(&entry.name, &binding)?;
        let stats = bound.executable.stats();
        let dims: Vec<String> = binding.iter().map(|(n, v)| format!("{n}={v}")).collect();
        rows.push(vec![
            entry.name.clone(),
            dims.join(" "),
            text::plural(bound.plan.program.calls.len() as u64, "call"),
            text::plural(bound.plan.program.kernels.len() as u64, "kernel"),
            format!("{} of code", text::bytes(stats.code_bytes as u64)),
            format!("{} peak", text::bytes(bound.memory.total())),
            format!("{:.1} ms", start.elapsed().as_secs_f64() * 1e3),
        ]);
        if let Some(r) = &bound.recomputed {
            let _ = writeln!(notes, "{}: {}", entry.name, memory::recomputed(r));
        }
    }
    out(&text::table(&rows, &[false, false, true, true, true, true, true]));
    err(&notes);
    Ok(exit::OK)
}
