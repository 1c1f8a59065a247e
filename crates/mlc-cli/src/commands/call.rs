//! `mlc run FILE ENTRY` for a method or fn: inputs in, results out.

use std::path::Path;

use mlc::diag::Diagnostic;
use mlc::ir::DType;
use mlc::runtime::data::LoadOptions;
use mlc::runtime::files;
use mlc::runtime::train::{Checkpoint, TrainOptions};
use mlc::{Error, Program, Seed, Session};

use super::run::{cache, located, refuse_training};
use crate::args::RunArgs;
use crate::progress::Progress;
use crate::show::{Show, out};
use crate::{inputs, summary};

pub fn run(a: &RunArgs, program: &Program, name: &str, show: &Show) -> Result<u8, Error> {
    refuse_training(a, &format!("for `{name}`"))?;
    let entry = program.entry(name)?;
    let cache = cache(a);
    let o = inputs::Options {
        words: &a.inputs,
        dims: program.dims(),
        random: a.random_inputs,
        seed: a.model.seed.unwrap_or(0),
        cache: &cache,
    };
    let fed = inputs::bind(entry, &o).map_err(|ds| located(program, ds))?;
    let mut session = program.session(Seed(seed(a, program)))?;
    state(a, program, &mut session, show)?;
    let binding = program.binding_of(name, &fed.tensors, &fed.dims)?;
    let results = session.call_with_dims(name, &fed.tensors, &fed.dims)?;
    let named: Vec<_> = results.iter().collect();
    match &a.output {
        Some(path) => {
            let views: Vec<_> = named.iter().map(|(n, t)| (*n, t.view())).collect();
            files::write_all(path, &views).map_err(|d| located(program, d))?;
            if !a.quiet {
                let names: Vec<String> = named.iter().map(|(n, _)| (*n).to_string()).collect();
                out(&summary::written(path, &names));
            }
        }
        None => {
            let bound = program.bind(name, &binding)?;
            let device = |name: &str| bound.device(bound.outputs.iter().find(|p| *p.name == *name)?);
            // Who gives text is answered with text.
            let text = inputs::gives_text(&a.inputs);
            let lines = named.iter().map(|(n, t)| match t.dtype() {
                DType::U8 if text => summary::text(t),
                _ => summary::result(n, t, device(n)),
            });
            out(&lines.collect::<String>());
        }
    }
    Ok(crate::exit::OK)
}

/// A seed of the file is part of the program; else the run's.
fn seed(a: &RunArgs, program: &Program) -> u64 {
    let of_file = match &program.ir().trains[..] {
        [one] => one.seed,
        _ => None,
    };
    of_file.or(a.model.seed).unwrap_or(0)
}

/// The state that a method sees: a checkpoint's, a weights file's, or the initial one.
fn state(a: &RunArgs, program: &Program, session: &mut Session, show: &Show) -> Result<(), Error> {
    let load = LoadOptions { cache: cache(a), ..LoadOptions::default() };
    weights(program, session, a.weights.as_deref(), load, show)?;
    if let Some(folder) = &a.resume {
        let restored = Checkpoint::read(folder).and_then(|c| c.restore(session));
        restored.map_err(|ds| located(program, ds))?;
    }
    Ok(())
}

/// Loads the weights of a file, after those that the program's train block names: methods run on its instance.
pub fn weights(
    program: &Program,
    session: &mut Session,
    file: Option<&Path>,
    load: LoadOptions,
    show: &Show,
) -> Result<(), Error> {
    if program.ir().trains.len() == 1 {
        let options = TrainOptions { weights: file.map(Path::to_path_buf), load, ..TrainOptions::default() };
        return session.load_block_weights(0, &options, &mut Progress::new(true, show, program.sources()));
    }
    if let Some(path) = file {
        for note in session.load_weights(path)? {
            show.one(Diagnostic::warning("W0701", note), program.sources());
        }
    }
    Ok(())
}
