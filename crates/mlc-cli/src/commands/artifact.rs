//! Artifacts: `mlc compile FILE -o FILE.mlgx` writes one, `mlc run FILE.mlgx` runs it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use mlc::diag::Diagnostic;
use mlc::ir::Binding;
use mlc::ir::program::Entry;
use mlc::runtime::data::LoadOptions;
use mlc::{ArtifactBuilder, Error, Program, Seed, Target, Written};

use super::call;
use crate::args::{CompileArgs, ModelArgs};
use crate::entries;
use crate::show::{Show, err, out};
use crate::{exit, interrupt, parse, sizes, text};

/// Is the file an artifact, by its name or by its first bytes?
pub fn is_one(path: &Path) -> bool {
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case(mlc::ARTIFACT_EXTENSION));
    let begins = || {
        let mut start = vec![];
        let read = File::open(path).and_then(|f| f.take(8).read_to_end(&mut start));
        read.is_ok() && mlc::is_artifact(&start)
    };
    named || begins()
}

/// Loads an artifact; options that only a compilation has are usage errors.
pub fn load(a: &ModelArgs) -> Result<Program, Error> {
    let target: Target = a.target.parse().map_err(Error::plain)?;
    if let Target::Cuda(_) = target {
        return Err(fixed(&format!("--target {}", a.target)));
    }
    let given = [
        ("--device", !a.devices.is_empty()),
        ("--precision", a.precision.is_some()),
        ("--transfers", a.transfers.is_some()),
        ("--model", a.model.is_some()),
        ("--strict", a.strict),
    ];
    if let Some((option, _)) = given.iter().find(|g| g.1) {
        return Err(fixed(option));
    }
    parse::compiler(a)?.load(&a.file)
}

fn fixed(option: &str) -> Error {
    parse::usage(
        format!("`{option}`: an artifact is as it was compiled"),
        "leave the option out, or give it to `mlc compile`",
    )
}

/// Compiles the chosen entries for all their sizes into a file.
pub fn write(a: &CompileArgs, path: &Path, show: &Show) -> Result<u8, Error> {
    preflight(a, path)?;
    let choices = parse::combinations(&a.model.dims)?;
    let program = super::compiled(&a.model.file, parse::compiler_of_artifact(&a.model)?, show)?;
    let names = entries::for_compile(&program, a.entry.as_deref())?;
    let chosen: Vec<&Entry> = names.iter().map(|n| program.entry(n)).collect::<Result<_, _>>()?;
    sizes::check_options(&program, &chosen)?;
    let mut artifact = program.artifact();
    artifact.rebuild(interrupt::command_line(&std::env::args().collect::<Vec<_>>()));
    let load = LoadOptions { seed: a.model.seed.unwrap_or(0), ..LoadOptions::default() };
    for entry in chosen {
        match entry.kind.train() {
            Some(_) => choices.iter().try_for_each(|c| artifact.train_entry(&entry.name, &load, c))?,
            None => method(&mut artifact, &program, entry, &choices, a.entry.is_some())?,
        }
    }
    if let Some(weights) = &a.weights {
        let mut session = program.session(Seed(a.model.seed.unwrap_or(0)))?;
        call::weights(&program, &mut session, Some(weights), load, show)?;
        artifact.weights(&session)?;
    }
    let table = table(&artifact);
    if table.is_empty() {
        let d = Diagnostic::error("E0910", "nothing is left to compile: no entry has all of its dims");
        return Err(Error::plain(d.hint("bind them: `--dim batch=1,64`")));
    }
    let written = artifact.write(path)?;
    out(&table);
    out(&summary(path, &written));
    Ok(exit::OK)
}

/// What would only go wrong after everything was compiled.
fn preflight(a: &CompileArgs, path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|f| !f.is_dir()) {
        let title = format!("`-o`: there is no folder `{}`", folder.display());
        return Err(Error::plain(Diagnostic::error("E0712", title).hint("make it first")));
    }
    let real = |p: &Path| p.canonicalize().ok();
    if real(path).is_some() && real(path) == real(&a.model.file) {
        let title = format!("`-o {}` is the source file", path.display());
        return Err(parse::usage(title, "give the artifact a name of its own"));
    }
    Ok(())
}

/// Adds a method for every combination of its own dims.
fn method(
    artifact: &mut ArtifactBuilder,
    program: &Program,
    entry: &Entry,
    choices: &[Binding],
    named: bool,
) -> Result<(), Error> {
    for choice in choices {
        let has = |dim: &mlc::ir::Symbol| entry.graph.dims.symbols.iter().any(|s| s.name == *dim);
        let binding: Binding = choice.iter().filter(|c| has(c.0)).map(|(n, v)| (n.clone(), *v)).collect();
        let open = sizes::open_dims(entry, &binding);
        if open.is_empty() {
            artifact.entry(&entry.name, &binding)?;
            continue;
        }
        if named {
            return Err(sizes::all(program, entry, None).err().unwrap_or_else(|| unbound(&entry.name)));
        }
        let options: Vec<String> = open.iter().map(|d| format!("--dim {d}=N")).collect();
        err(&format!("left out {}: give {} to have it\n", entry.name, options.join(" ")));
        break;
    }
    Ok(())
}

fn unbound(entry: &str) -> Error {
    Error::plain(Diagnostic::error("E0910", format!("`{entry}` has dims that nothing binds")))
}

fn table(artifact: &ArtifactBuilder) -> String {
    let row = |b: &std::sync::Arc<mlc::BoundEntry>| {
        let dims: Vec<String> = b.binding.iter().map(|(n, v)| format!("{n}={v}")).collect();
        vec![
            b.name.clone(),
            dims.join(" "),
            text::plural(b.plan.program.calls.len() as u64, "call"),
            text::plural(b.plan.program.kernels.len() as u64, "kernel"),
            format!("{} peak", text::bytes(b.memory.total())),
        ]
    };
    let rows: Vec<_> = artifact.bound().iter().map(row).collect();
    text::table(&rows, &[false, false, true, true, true])
}

fn summary(path: &Path, w: &Written) -> String {
    let weights = match w.weights_bytes {
        0 => String::new(),
        n => format!(", {} of weights", text::bytes(n as u64)),
    };
    format!(
        "wrote {}: {}, {} in {} of code{weights}\n",
        path.display(),
        text::bytes(w.bytes),
        text::plural(w.functions as u64, "function"),
        text::bytes(w.code_bytes as u64),
    )
}
