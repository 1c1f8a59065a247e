//! Tests of the syntax as a whole, on the programs and cases in `tests/cases`.

use std::path::PathBuf;

use mlc_diag::{SourceMap, Style, render_all};

use super::*;

fn cases(area: &str) -> Vec<(String, String)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases").join(area);
    let mut found = vec![];
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "mlg") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn errors(name: &str, text: &str) -> String {
    let mut sources = SourceMap::new();
    let id = sources.add(format!("{name}.mlg"), None, text);
    render_all(&parse(id, text).diagnostics, &sources, Style::Plain)
}

#[test]
fn programs_parse() {
    let programs = cases("programs");
    assert_eq!(programs.len(), 21);
    for (name, text) in programs {
        assert_eq!(errors(&name, &text), "", "{name}");
    }
}
