//! Which entry is meant: `train`, `validate`, `forward`, `net.generate`, or none at all.

use mlc::diag::Diagnostic;
use mlc::ir::program::EntryKind;
use mlc::{Error, Program};

use crate::suggest;

/// What `mlc run` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    Train(usize),
    Validate(usize),
    /// An entry by name.
    Call(String),
}

/// What the words of the command line mean in this program.
pub fn job(program: &Program, entry: Option<&str>) -> Result<Job, Error> {
    match entry {
        None => default(program),
        Some(name) => named(program, name),
    }
}

fn default(program: &Program) -> Result<Job, Error> {
    let trains = &program.ir().trains;
    let there = blocks(program);
    match there[..] {
        [i] if trains[i].losses.is_empty() => return Ok(Job::Validate(i)),
        [i] => return Ok(Job::Train(i)),
        [] => {}
        _ => {
            let names: Vec<&str> = there.iter().map(|&i| &*trains[i].name).collect();
            return Err(ambiguous("the file has several train blocks", &names));
        }
    }
    let methods = methods(program);
    let forward = methods.iter().rev().find(|m| **m == "forward" || m.ends_with(".forward"));
    match forward {
        Some(m) => Ok(Job::Call((*m).to_string())),
        None if methods.is_empty() => {
            let d = Diagnostic::error("E0903", "there is nothing to run in this file");
            Err(program_error(program, d.hint("add a train block, or a model whose config is complete and whose `forward` has annotated parameters")))
        }
        None => Err(ambiguous("the file has no train block and no `forward`", &methods)),
    }
}

/// The train blocks that can run. An artifact may have been made without the entries of one.
fn blocks(program: &Program) -> Vec<usize> {
    let has = |i: &usize| program.ir().entries.iter().any(|e| e.kind.train() == Some(*i));
    (0..program.ir().trains.len()).filter(has).collect()
}

fn ambiguous(title: &str, names: &[&str]) -> Error {
    let d = Diagnostic::error("E0913", format!("{title}: which entry shall run?"));
    Error::plain(
        d.note(format!("entries: {}", names.join(", ")))
            .hint(format!("name one: `mlc run FILE {}`", names[0])),
    )
}

fn named(program: &Program, name: &str) -> Result<Job, Error> {
    let trains = &program.ir().trains;
    let there = blocks(program);
    let block = |name: &str| there.iter().copied().find(|&i| trains[i].name == name);
    if let Some(i) = block(name) {
        return Ok(if trains[i].losses.is_empty() { Job::Validate(i) } else { Job::Train(i) });
    }
    if let ("validate", Some(&first)) = (name, there.first()) {
        let with: Vec<usize> = there.iter().copied().filter(|&i| trains[i].validate.is_some()).collect();
        return match with[..] {
            [] => Ok(Job::Validate(first)),
            [i] => Ok(Job::Validate(i)),
            _ => {
                let names: Vec<String> =
                    with.iter().map(|&i| format!("{}.validate", trains[i].name)).collect();
                Err(ambiguous(
                    "several train blocks validate",
                    &names.iter().map(String::as_str).collect::<Vec<_>>(),
                ))
            }
        };
    }
    if let Some((of, part)) = name.rsplit_once('.')
        && let Some(i) = block(of)
    {
        match part {
            "validate" => return Ok(Job::Validate(i)),
            "step" | "train" => return Ok(Job::Train(i)),
            _ => {}
        }
    }
    entry(program, name).map(|e| Job::Call(e.to_string()))
}

/// The one method of this name, or whose last parts are it.
fn entry<'p>(program: &'p Program, name: &str) -> Result<&'p str, Error> {
    let methods = methods(program);
    if let Some(m) = methods.iter().find(|m| **m == name) {
        return Ok(m);
    }
    let ending = format!(".{name}");
    let found: Vec<&str> = methods.iter().copied().filter(|m| m.ends_with(&ending)).collect();
    match found[..] {
        [m] => Ok(m),
        [] => Err(unknown(program, name)),
        _ => Err(ambiguous(&format!("`{name}` is the name of several entries"), &found)),
    }
}

/// The entries that `mlc compile` takes for a name: a block's, one of a block, or a method.
pub fn for_compile(program: &Program, name: Option<&str>) -> Result<Vec<String>, Error> {
    let all = &program.ir().entries;
    let public = |k: &EntryKind| !matches!(k, EntryKind::Init | EntryKind::Test { .. });
    let Some(name) = name else {
        let names: Vec<String> = all.iter().filter(|e| public(&e.kind)).map(|e| e.name.clone()).collect();
        return if names.is_empty() { Err(unknown(program, "")) } else { Ok(names) };
    };
    if let Some(e) = all.iter().find(|e| e.name == name) {
        return Ok(vec![e.name.clone()]);
    }
    let block = |i: usize| {
        all.iter().filter(|e| e.kind.train() == Some(i)).map(|e| e.name.clone()).collect::<Vec<_>>()
    };
    if let Some(i) = program.ir().trains.iter().position(|t| t.name == name) {
        return Ok(block(i));
    }
    match named(program, name)? {
        Job::Train(i) => Ok(block(i)),
        Job::Validate(i) => {
            let validate = |e: &&mlc::ir::program::Entry| e.kind == EntryKind::Validate { train: i };
            Ok(all.iter().filter(validate).map(|e| e.name.clone()).collect())
        }
        Job::Call(name) => Ok(vec![name]),
    }
}

fn methods(program: &Program) -> Vec<&str> {
    let method = |e: &&mlc::ir::program::Entry| e.kind == EntryKind::Method;
    program.ir().entries.iter().filter(method).map(|e| e.name.as_str()).collect()
}

fn unknown(program: &Program, name: &str) -> Error {
    let trains: Vec<_> = blocks(program).into_iter().map(|i| &program.ir().trains[i]).collect();
    let mut names: Vec<&str> = trains.iter().map(|t| t.name.as_str()).collect();
    if trains.iter().any(|t| t.validate.is_some()) {
        names.push("validate");
    }
    names.extend(methods(program));
    let d = match name {
        "" => Diagnostic::error("E0903", "the file has no entries"),
        _ => Diagnostic::error("E0903", format!("there is no entry `{name}`")),
    };
    let d = match names.is_empty() {
        true => d,
        false => d.note(format!("entries: {}", names.join(", "))),
    };
    let d = suggest::hint(d, name, names);
    let rule = "entries are train blocks, and methods and fns whose parameters all have types, of models whose config is complete";
    program_error(program, if d.hint.is_none() { d.hint(rule) } else { d })
}

fn program_error(program: &Program, d: Diagnostic) -> Error {
    Error::new(d, program.sources())
}
