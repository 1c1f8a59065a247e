//! Build: AST to [`Program`], by running the program at compile time.
//!
//! ```text
//! files --names--> checked AST --instances--> states --entries--> one graph each (stage `built`)
//! ```
//! The front end is an interpreter: config, loops, conditions and lists are evaluated, calls are
//! inlined, and what happens on tensors becomes nodes of the graph of the entry under construction.
//! Every node carries the innermost span in the user's own files and the path of the instance whose
//! method it stands in. Mistakes are diagnostics that carry both sides; what depends on a mistake is
//! poison and stays silent, so one run reports as many mistakes as there are.

mod builtins;
mod call;
mod data;
mod entries;
mod env;
mod expr;
mod fail;
mod files;
mod foreign;
mod index;
mod init;
mod interp;
mod later;
mod lookup;
mod matmul;
mod model;
mod names;
mod ops;
mod scan;
mod settings;
mod step;
mod stmt;
pub mod suggest;
mod test;
mod train;
mod types;
mod update;
mod value;

use std::path::Path;
use std::sync::Arc;

use mlc_diag::{Diagnostic, Diagnostics, SourceMap};
use mlc_ir::Device;
use mlc_ir::program::{Entry, Program, StateDecl, TransferLimit, TransferRules};

pub use files::{DiskLoader, FileLoader, MemoryLoader};

use self::files::{FileId, Files};
use self::interp::Interp;
use self::train::TrainCx;
use crate::prelude;
use crate::syntax::ast::{ItemKind, ModelMemberKind, TrainMemberKind, Transfers};

/// The text and documentation of a library name, for `mlc doc NAME`; all names without one.
pub fn doc(name: &str) -> Option<String> {
    // `kaiming_uniform` is the fn `init_kaiming_uniform` where a param takes its first value.
    let mut parts: Vec<String> = [name, &format!("init_{name}")]
        .into_iter()
        .flat_map(|n| prelude::prelude().entries(n))
        .map(|i| i.text().trim_end().to_owned())
        .collect();
    parts.extend(CONSTANTS.iter().filter(|c| c.0 == name).map(|c| format!("/// {}\n{}", c.1, c.0)));
    parts.extend(builtins::all().filter(|b| b.name == name).map(|b| {
        let params: Vec<&str> = b.params.split_whitespace().collect();
        format!("/// {}\nfn {}({})    // built in; `?`: may be left out", b.doc, b.name, params.join(", "))
    }));
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

/// Names of the library that are neither called nor built.
const CONSTANTS: &[(&str, &str)] = &[
    ("pi", "The number 3.14159.., known at compile time."),
    ("inf", "Infinity, known at compile time."),
    ("nan", "Not a number, known at compile time."),
    ("training", "Is this a training step? Known at compile time."),
    ("frozen", "In a train block's `optimizer`: these parameters are not trained."),
    ("init", "In a train block's `weights`: these parameters keep their first values."),
];

/// Is it a name of the library that this version does not build yet?
pub fn is_later(name: &str) -> bool {
    later::is_later(name)
}

/// All names of the library with what they are and a line about each, sorted.
pub fn doc_index() -> Vec<(String, &'static str, String)> {
    let first = |text: &str| text.lines().find_map(|l| l.strip_prefix("/// ")).unwrap_or_default().to_owned();
    let named = |i: &prelude::PreludeItem| match i.name.strip_prefix("init_") {
        Some(name) => (name.to_owned(), "init", first(i.text())),
        None => (i.name.clone(), i.kind(), first(i.text())),
    };
    let mut out: Vec<(String, &'static str, String)> = prelude::prelude().items().iter().map(named).collect();
    out.extend(CONSTANTS.iter().map(|c| (c.0.to_owned(), "constant", c.1.to_owned())));
    out.extend(builtins::all().map(|b| (b.name.to_owned(), "fn", b.doc.to_owned())));
    out.sort();
    out
}

/// What a compilation can be asked for beside the file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The model that `forward` without a train block means; else the last.
    pub model: Option<String>,
    /// The train block to build; else all.
    pub train: Option<String>,
    /// Build test blocks; else they are only checked, and their models are not part of the program.
    pub tests: bool,
    /// `--device left=cpu:1`: by name or by device as written.
    pub devices: Vec<(String, Device)>,
}

impl Options {
    /// What they name and the program has not.
    fn unknown(&self, files: &Files) -> Diagnostics {
        let mut out = Diagnostics::new();
        let items = || files.units.iter().flat_map(|u| &u.ast.items);
        let mut check = |option: &str, what: &str, name: &str, known: Vec<&str>| {
            if known.contains(&name) {
                return;
            }
            let d =
                Diagnostic::error("E0915", format!("`--{option} {name}`: the file has no {what} `{name}`"));
            let fallback = match known.is_empty() {
                true => format!("it has no {what} at all"),
                false => format!("it has {}", known.join(", ")),
            };
            out.push(suggest::hint(d, name, known, &fallback));
        };
        if let Some(name) = &self.model {
            let models = files.units.first().into_iter().flat_map(|u| &u.ast.items);
            let models = models.filter_map(|i| match &i.kind {
                ItemKind::Model(m) => Some(m.name.text.as_str()),
                _ => None,
            });
            check("model", "model", name, models.collect());
        }
        // What is spelled as a device may be given for programs that do not use it.
        for (name, _) in self.devices.iter().filter(|d| d.0.parse::<Device>().is_err()) {
            let devices = items().filter_map(|i| match &i.kind {
                ItemKind::Device(d) => Some(d.name.text.as_str()),
                _ => None,
            });
            check("device", "device", name, devices.collect());
        }
        out
    }
}

/// What came of a compilation. Sources are there to render the diagnostics with.
#[derive(Debug)]
pub struct Compiled {
    /// `None` where there were errors.
    pub program: Option<Program>,
    pub diagnostics: Diagnostics,
    pub sources: Arc<SourceMap>,
}

/// The stack of the interpreter's thread: calls are recursive, up to limits that fit.
const STACK: usize = 512 << 20;

/// Compiles a file and what it uses.
pub fn compile(loader: &(dyn FileLoader + Sync), path: &Path, options: &Options) -> Compiled {
    let mut sources = SourceMap::new();
    prelude::add_sources(&mut sources);
    let mut diags = Diagnostics::new();
    let files = Files::load(loader, path, &mut sources, &mut diags);
    let sources = Arc::new(sources);
    let parsed = !diags.has_errors();
    if files.incomplete {
        diags.sort();
        return Compiled { program: None, diagnostics: diags, sources };
    }
    let built = std::thread::scope(|s| {
        let run = || build(&files, &sources, options);
        let thread =
            std::thread::Builder::new().name("mlc-build".to_owned()).stack_size(STACK).spawn_scoped(s, run);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(built)) => built,
            Ok(Err(_)) => (None, Diagnostic::bug("the front end panicked").into()),
            Err(e) => (None, Diagnostic::bug(format!("no thread for the front end: {e}")).into()),
        }
    });
    let (program, more) = built;
    diags.extend(more);
    diags.extend(options.unknown(&files));
    diags.extend(names::check(&files));
    // The interpreter knows more about a mistake than the check of names alone.
    let mut seen = std::collections::HashSet::new();
    diags.0.retain(|d| d.labels.is_empty() || seen.insert((d.code, d.span())));
    // What a broken line would have read is not known.
    if diags.has_errors() {
        diags.0.retain(|d| d.code != "W0301");
    }
    diags.sort();
    let program = program.filter(|_| parsed && !diags.has_errors());
    Compiled { program, diagnostics: diags, sources }
}

fn build(files: &Files, sources: &Arc<SourceMap>, options: &Options) -> (Option<Program>, Diagnostics) {
    let mut cx = Interp::new(files, sources, options);
    let Some(main) = files.units.first() else { return (None, cx.diags) };
    cx.declare_trains();
    for i in 0..cx.trains.len() {
        cx.prepare_train(i);
    }
    let mut entries: Vec<Entry> = vec![];
    for i in 0..cx.trains.len() {
        cx.train_entries(i, &mut entries);
    }
    cx.method_entries(&mut entries);
    let (mut tests, mut test_entries) = (vec![], vec![]);
    for item in &main.ast.items {
        if let ItemKind::Test(t) = &item.kind {
            let test = cx.test(tests.len(), t, FileId(0), item.span, &mut test_entries);
            tests.push(test);
        }
    }
    if options.tests {
        entries.extend(test_entries);
    } else {
        tests.clear();
    }
    let trains = (0..cx.trains.len()).map(|i| cx.train_spec(i)).collect();
    entries.insert(0, cx.init_entry());
    let states = cx.state_decls();
    let transfers = transfer_rules(files);
    let program = Program { sources: sources.clone(), states, entries, trains, tests, transfers };
    (Some(program), cx.diags)
}

/// What files, models and train blocks say about transfers.
fn transfer_rules(files: &Files) -> TransferRules {
    let mut rules = TransferRules::default();
    let mut add = |t: &Transfers, span| match t {
        Transfers::Explicit => rules.explicit = true,
        Transfers::Auto => rules.explicit = false,
        Transfers::AtMost { count, per } => {
            rules.limits.push(TransferLimit { count: *count, per: per.text.clone(), span });
        }
    };
    for unit in files.units.iter().rev() {
        for item in &unit.ast.items {
            match &item.kind {
                ItemKind::Transfers(t) => add(t, item.span),
                ItemKind::Model(m) => m.members.iter().for_each(|m| {
                    if let ModelMemberKind::Transfers(t) = &m.kind {
                        add(t, m.span);
                    }
                }),
                ItemKind::Train(t) => t.members.iter().for_each(|m| {
                    if let TrainMemberKind::Transfers(t) = &m.kind {
                        add(t, m.span);
                    }
                }),
                _ => {}
            }
        }
    }
    rules
}

impl<'a> Interp<'a> {
    fn declare_trains(&mut self) {
        let files = self.files;
        let Some(main) = files.units.first() else { return };
        for item in &main.ast.items {
            let ItemKind::Train(t) = &item.kind else { continue };
            let name = t.name.as_ref().map_or("train", |n| n.text.as_str());
            if self.options.train.as_deref().is_some_and(|want| want != name) {
                continue;
            }
            let prefix = if self.trains.is_empty() { String::new() } else { name.to_owned() };
            let span = t.name.as_ref().map_or(item.span, |n| n.span);
            self.trains.push(TrainCx::new(t, FileId(0), span, name.to_owned(), prefix));
        }
    }

    fn state_decls(&mut self) -> Vec<StateDecl> {
        let mut out: Vec<StateDecl> = vec![];
        for k in 0..self.states.len() {
            let path = self.state_path(value::StateId(k));
            let s = self.states[k].clone();
            if self.roots[s.root].hidden {
                continue;
            }
            if let Some(before) = out.iter().find(|o| *o.path == *path) {
                let d = fail::error("E0403", s.span, format!("two states are named `{path}`"));
                self.report(
                    d.label(before.span, "the other is declared here").hint("rename a member or a binding"),
                );
                continue;
            }
            let aliases = s.aliases.iter().map(|(root, p)| self.full_path(*root, p).into()).collect();
            out.push(StateDecl { path: path.into(), ty: s.ty, kind: s.kind, aliases, span: s.span });
        }
        out
    }
}

#[cfg(test)]
mod tests;
