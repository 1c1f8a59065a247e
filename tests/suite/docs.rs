//! Documents that are made from the code are up to date. `MLC_BLESS=1` writes them anew.

use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn holds(name: &str, want: &str) {
    let path = docs().join(name);
    if std::env::var_os("MLC_BLESS").is_some() {
        std::fs::write(&path, want).expect("docs/ can be written");
        return;
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((i, (h, w))) = have.lines().zip(want.lines()).enumerate().find(|(_, (h, w))| h != w) {
        panic!(
            "docs/{name} is out of date at line {}:\n  {h}\nshould be\n  {w}\nrun with MLC_BLESS=1",
            i + 1
        );
    }
    assert!(have == want, "docs/{name} is out of date in its length; run with MLC_BLESS=1");
}

#[test]
fn ops_are_those_of_the_table() {
    holds("ops.md", &mlc_ir::op::ops_markdown());
}

#[test]
fn errors_are_those_of_the_catalogue() {
    holds("errors.md", &mlc::diag::catalogue::markdown());
}

/// What is shown as .mlg is .mlg: a file, statements, or members of a train block.
#[test]
fn code_in_documents_parses() {
    let mut seen = 0;
    for name in ["../README.md", "language.md", "from-pytorch.md"] {
        let text = std::fs::read_to_string(docs().join(name)).expect("a document");
        for block in text.split("```mlg\n").skip(1) {
            let code = block.split("```").next().unwrap_or_default();
            let forms = [code.to_owned(), format!("fn f() {{\n{code}}}\n"), format!("train {{\n{code}}}\n")];
            let errors = forms.map(|f| mlc::frontend::syntax::parse(mlc::diag::SourceId(0), &f).diagnostics);
            assert!(errors.iter().any(|e| e.is_empty()), "docs/{name}:\n{code}\nas a file:\n{}", errors[0]);
            seen += 1;
        }
    }
    assert!(seen > 8, "only {seen} pieces of code");
}
