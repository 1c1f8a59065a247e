//! Every file of tests/cases/passes through the passes that its first line names:
//! `// passes: place(cuda:0) simplify cse dce differentiate bind(n=4) decompose`. The snapshot beside it
//! holds what came out: graphs, decisions of `place`, or errors.
//!
//! `place(TARGET, explicit, cuda:1=cpu:1, state.path@cuda:1)` takes the options of [`Place`].

use std::fmt::Write;
use std::path::{Path, PathBuf};

use mlc_ir::Binding;
use mlc_ir::graph::{parse_all, verify};

use crate::{Bind, Cse, Dce, Decompose, Differentiate, Pass, PassManager, Place, Simplify, crossings};

fn place(args: &str) -> Place {
    let mut args = args.split(',').map(str::trim);
    let mut place = Place::on(args.next().unwrap().parse().unwrap());
    for arg in args {
        if let Some((path, device)) = arg.split_once('@') {
            place.states.insert(path.into(), device.parse().unwrap());
        } else if let Some((from, to)) = arg.split_once('=') {
            place.remap.insert(from.parse().unwrap(), to.parse().unwrap());
        } else {
            assert_eq!(arg, "explicit");
            place.explicit = true;
        }
    }
    place
}

fn pass(text: &str) -> Box<dyn Pass> {
    let (name, args) = text.split_once('(').unwrap_or((text, ""));
    let args = args.trim_end_matches(')');
    match name {
        "place" => Box::new(place(args)),
        "simplify" => Box::new(Simplify),
        "cse" => Box::new(Cse),
        "dce" => Box::new(Dce),
        "differentiate" => Box::new(Differentiate),
        "decompose" => Box::new(Decompose),
        "bind" => {
            let pair = |p: &str| {
                let (name, n) = p.split_once('=').unwrap();
                (name.trim().into(), n.parse().unwrap())
            };
            Box::new(Bind::new(args.split(',').filter(|a| !a.is_empty()).map(pair).collect::<Binding>()))
        }
        _ => panic!("there is no pass `{text}`"),
    }
}

/// Splits at blanks outside parentheses.
fn words(line: &str) -> Vec<String> {
    let mut depth = 0;
    let parts = line.split(|c: char| {
        depth += (c == '(') as i32 - (c == ')') as i32;
        c == ' ' && depth == 0
    });
    parts.filter(|w| !w.is_empty()).map(str::to_string).collect()
}

fn run(text: &str) -> String {
    let line = text.lines().find_map(|l| l.strip_prefix("// passes: ")).expect("a line with the passes");
    let mut out = String::new();
    for mut graph in parse_all(text).unwrap_or_else(|e| panic!("{e}")) {
        verify(&graph).unwrap_or_else(|e| panic!("{e}"));
        let passes = words(line).iter().map(|w| pass(w)).collect();
        match PassManager::new(passes).verify(true).run(&mut graph) {
            Err(errors) => {
                for d in errors.iter() {
                    let _ = writeln!(out, "{}[{}]: {}", d.severity.word(), d.code, d.title);
                    d.notes.iter().for_each(|n| writeln!(out, "  note: {n}").unwrap());
                    d.hint.iter().for_each(|h| writeln!(out, "  hint: {h}").unwrap());
                }
            }
            Ok(_) => {
                let _ = write!(out, "{graph}");
                for c in crossings(&graph) {
                    let kind = if c.input {
                        " (input)"
                    } else if c.explicit {
                        " (explicit)"
                    } else {
                        ""
                    };
                    let _ = writeln!(out, "// {} -> {}: {} bytes{kind}", c.from, c.to, c.bytes);
                }
            }
        }
    }
    out
}

#[test]
fn passes_give_what_the_snapshots_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/passes");
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "ir"));
    files.sort();
    assert!(files.len() >= 12, "{}", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        insta::with_settings!({
            snapshot_path => "../../../../tests/cases/passes/snapshots",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, run(&text));
        });
    }
}
