//! `mlc run FILE [ENTRY]`: trains, validates, or calls a method.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlc::diag::{Diagnostic, Diagnostics};
use mlc::ir::DType;
use mlc::ir::program::{DataSpec, Entry, Train};
use mlc::runtime::data::LoadOptions;
use mlc::runtime::files::Cache;
use mlc::runtime::train::{Checkpoint, End, TrainOptions};
use mlc::{Error, Program, Seed};

use crate::args::RunArgs;
use crate::entries::{Job, job};
use crate::progress::Progress;
use crate::show::{Show, err, out};
use crate::{exit, inputs, interrupt, memory, parse, sizes, summary};

pub fn run(a: &RunArgs, show: &Show) -> Result<u8, Error> {
    preflight(a)?;
    interrupt::install();
    let program = super::runnable(&a.model, show)?;
    match job(&program, a.entry.as_deref())? {
        Job::Train(block) => train(a, &program, block, show),
        Job::Validate(block) => validate(a, &program, block, show),
        Job::Call(entry) => super::call::run(a, &program, &entry, show),
    }
}

/// Where decoded copies of data files are kept.
pub fn cache(a: &RunArgs) -> Cache {
    if a.no_cache { Cache::disabled() } else { Cache::user() }
}

/// What would only go wrong after hours of training: folders that are not there, options that do not
/// go together.
fn preflight(a: &RunArgs) -> Result<(), Error> {
    for (option, path) in [("--save", &a.save), ("--output", &a.output), ("--log", &a.log)] {
        let Some(folder) = path.as_ref().and_then(|p| p.parent()) else { continue };
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            let title = format!("`{option}`: there is no folder `{}`", folder.display());
            return Err(Error::plain(Diagnostic::error("E0712", title).hint("make it first")));
        }
    }
    if a.every == Some(0) {
        return Err(parse::usage(
            "`--every 0`: a checkpoint every 0 steps",
            "give at least 1, or leave it out to save at the end of each epoch",
        ));
    }
    Ok(())
}

/// The first of these options that was given, as an error: it means nothing for `what`.
fn refuse(given: &[(&str, bool)], what: &str, hint: &str) -> Result<(), Error> {
    match given.iter().find(|g| g.1) {
        Some((option, _)) => Err(parse::usage(format!("`{option}` means nothing {what}"), hint)),
        None => Ok(()),
    }
}

/// Options of training, for entries that are not trained.
pub fn refuse_training(a: &RunArgs, what: &str) -> Result<(), Error> {
    let given = [
        ("--steps", a.steps.is_some()),
        ("--epochs", a.epochs.is_some()),
        ("--checkpoint", a.checkpoint.is_some()),
        ("--log", a.log.is_some()),
        ("--save", a.save.is_some()),
        ("--no-shuffle", a.no_shuffle),
    ];
    refuse(&given, what, "it is an option of training: `mlc run FILE`")
}

fn options(a: &RunArgs, program: &Program, spec: &Train) -> Result<TrainOptions, Error> {
    // A seed in the file is part of the program.
    let seed = spec.seed.or(a.model.seed).unwrap_or(0);
    let known = fed_fields([&spec.data, &spec.validate]);
    let fed = inputs::fields(&a.inputs, &known, &cache(a)).map_err(|ds| Error::new(ds, program.sources()))?;
    Ok(TrainOptions {
        steps: a.steps,
        epochs: a.epochs,
        no_shuffle: a.no_shuffle,
        seed,
        weights: a.weights.clone(),
        save: a.save.clone(),
        checkpoint: a.checkpoint.clone(),
        every: a.every,
        resume: a.resume.clone(),
        log: a.log.clone(),
        interrupt_folder: interrupt_folder(&a.model.file),
        load: LoadOptions { cache: cache(a), seed, fed: BTreeMap::from_iter(fed) },
    })
}

/// Fields without a source, which `--input` gives.
fn fed_fields(specs: [&Option<DataSpec>; 2]) -> Vec<(String, DType)> {
    let parts = specs.into_iter().flatten().flat_map(|s| &s.parts);
    let fields = parts.flat_map(|p| &p.dataset.fields).filter(|f| f.source.is_none());
    fields.map(|f| (f.name.clone(), f.dtype)).collect()
}

/// `simple_nn.ckpt` in the working directory.
fn interrupt_folder(file: &Path) -> PathBuf {
    let stem = file.file_stem().map_or("mlc".into(), |s| s.to_string_lossy().into_owned());
    PathBuf::from(format!("{stem}.ckpt"))
}

fn of_block(program: &Program, block: usize) -> Vec<&Entry> {
    program.ir().entries.iter().filter(|e| e.kind.train() == Some(block)).collect()
}

fn train(a: &RunArgs, program: &Program, block: usize, show: &Show) -> Result<u8, Error> {
    let call_only = [("--random-inputs", a.random_inputs), ("--output", a.output.is_some())];
    refuse(&call_only, "when training", "it is an option for methods: `mlc run FILE forward`")?;
    sizes::check_options(program, &of_block(program, block))?;
    let spec = &program.ir().trains[block];
    let options = options(a, program, spec)?;
    check_memory(a, program, block)?;
    let done = match &a.resume {
        Some(folder) => {
            Checkpoint::read(folder).map_err(|ds| Error::new(ds, program.sources()))?.progress.step
        }
        None => 0,
    };
    let mut session = program.session(Seed(options.seed))?;
    let mut progress = Progress::new(a.quiet, show, program.sources());
    interrupt::training();
    let result = session.train(block, &options, &interrupt::INTERRUPTED, &mut progress);
    progress.finish();
    let report = result?;
    if !a.quiet {
        out(&summary::training(&report, spec, done));
    }
    if report.end != End::Interrupted {
        return Ok(exit::OK);
    }
    if let Some(folder) = &report.checkpoint {
        let command =
            interrupt::resume_command(&std::env::args().collect::<Vec<_>>(), &folder.display().to_string());
        err(&format!("saved to {}; to continue:\n  {command}\n", folder.display()));
    }
    Ok(exit::INTERRUPTED)
}

/// All that is known not to fit, before anything runs; says what is computed again to make it fit.
fn check_memory(a: &RunArgs, program: &Program, block: usize) -> Result<(), Error> {
    if program.memory_limit().is_none() {
        return Ok(());
    }
    for entry in of_block(program, block) {
        let binding = sizes::known(program, entry, None);
        if sizes::open_dims(entry, &binding).is_empty() {
            let bound = program.bind(&entry.name, &binding)?;
            if let (Some(r), false) = (&bound.recomputed, a.quiet) {
                err(&format!("{}: {}\n", entry.name, memory::recomputed(r)));
            }
        }
    }
    Ok(())
}

fn validate(a: &RunArgs, program: &Program, block: usize, show: &Show) -> Result<u8, Error> {
    refuse_training(a, "when only validating")?;
    let call_only = [("--random-inputs", a.random_inputs), ("--output", a.output.is_some())];
    refuse(&call_only, "when validating", "it is an option for methods: `mlc run FILE forward`")?;
    sizes::check_options(program, &of_block(program, block))?;
    let spec = &program.ir().trains[block];
    let options = options(a, program, spec)?;
    let mut session = program.session(Seed(options.seed))?;
    // Warnings only: the one line of result is stdout's.
    let mut progress = Progress::new(true, show, program.sources());
    let report = session.validate(block, &options, &mut progress)?;
    out(&summary::validated(&report));
    Ok(exit::OK)
}

/// Wraps errors that have no source map of their own.
pub fn located(program: &Program, ds: impl Into<Diagnostics>) -> Error {
    Error::new(ds, program.sources())
}
