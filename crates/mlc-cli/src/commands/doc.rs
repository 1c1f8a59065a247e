//! `mlc doc [NAME]`: the library, as it stands in the binary.

use mlc::Error;
use mlc::diag::Diagnostic;
use mlc::frontend::{doc, doc_index, is_later};

use crate::show::out;
use crate::{exit, suggest};

/// Kinds of items and how a list of them is headed; others follow under their own word.
const TITLES: &[(&str, &str)] = &[
    ("fn", "functions"),
    ("model", "models"),
    ("optimizer", "optimizers"),
    ("schedule", "schedules"),
    ("init", "initialisers"),
    ("constant", "constants"),
];

pub fn run(name: Option<&str>) -> Result<u8, Error> {
    match name {
        None => out(&list()),
        Some(name) => out(&(item(name)? + "\n")),
    }
    Ok(exit::OK)
}

/// Every name by kind, with a line about each.
fn list() -> String {
    let index = doc_index();
    let mut kinds: Vec<&str> = TITLES.iter().map(|t| t.0).collect();
    for (_, kind, _) in &index {
        if !kinds.contains(kind) {
            kinds.push(kind);
        }
    }
    let width = index.iter().map(|i| i.0.chars().count()).max().unwrap_or(0).min(28);
    let mut text = String::new();
    for kind in kinds {
        let mut of_kind: Vec<_> = index.iter().filter(|i| i.1 == kind).collect();
        of_kind.dedup_by(|a, b| a.0 == b.0);
        if of_kind.is_empty() {
            continue;
        }
        let title = TITLES.iter().find(|t| t.0 == kind).map_or(kind, |t| t.1);
        text += &format!("{title}\n");
        for (name, _, about) in of_kind {
            let line = format!("  {name:width$}  {about}");
            text += line.trim_end();
            text.push('\n');
        }
        text.push('\n');
    }
    text + "`mlc doc NAME` shows one, with its source\n"
}

/// All items of a name: `normal` is a function and an initialiser.
fn item(name: &str) -> Result<String, Error> {
    doc(name).ok_or_else(|| {
        if is_later(name) {
            let d = Diagnostic::error("E0916", format!("`{name}` is not built yet"));
            return Error::plain(
                d.note("it is part of the library and will come with a later version of mlc"),
            );
        }
        let index = doc_index();
        let d = Diagnostic::error("E0915", format!("the library has nothing called `{name}`"));
        let d = d.note("`mlc doc` lists all names");
        Error::plain(suggest::hint(d, name, index.iter().map(|i| i.0.as_str())))
    })
}
