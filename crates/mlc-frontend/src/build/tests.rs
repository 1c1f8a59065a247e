//! Tests of the front end as a whole: files to programs and diagnostics.

use std::path::{Path, PathBuf};

use mlc_diag::{Style, render_all};

use super::*;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compiles a file of the repository and prints what comes of it: for work on the front end.
#[test]
#[ignore = "a tool: MLG=path cargo test -p mlc-frontend show_file -- --ignored --nocapture"]
fn show_file() {
    let Ok(path) = std::env::var("MLG") else { return };
    let start = std::time::Instant::now();
    let c = compile(&DiskLoader, Path::new(&path), &Options::default());
    let time = start.elapsed();
    println!("{}", render_all(&c.diagnostics, &c.sources, Style::Plain));
    if let Some(p) = &c.program {
        for e in &p.entries {
            println!(
                "{:?} {} nodes, {} outputs, {} writes",
                e.name,
                e.graph.len(),
                e.graph.outputs.len(),
                e.graph.writes.len()
            );
            if std::env::var("GRAPH").is_ok_and(|g| e.name.contains(&g)) {
                println!("{}", mlc_ir::graph::print_with_sources(&e.graph, &c.sources));
            }
        }
        println!("{} states", p.states.len());
    }
    println!("{time:?}");
}

#[test]
fn the_library_parses() {
    for item in prelude::prelude().items() {
        assert!(item.diagnostics().is_empty(), "{}: {}", item.name, item.diagnostics());
        assert!(item.ast().is_some(), "{}", item.name);
    }
}

#[test]
fn the_first_program_builds() {
    let c = compile(&DiskLoader, &repository().join("examples/simple_nn.mlg"), &Options::default());
    assert!(c.diagnostics.is_empty(), "{}", render_all(&c.diagnostics, &c.sources, Style::Plain));
    let p = c.program.expect("a program");
    let names: Vec<&str> = p.entries.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["init", "train.step", "train.validate", "forward"]);
    let states: Vec<&str> = p.states.iter().map(|s| &*s.path).collect();
    assert_eq!(&states[..4], ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
    for s in &p.states[..4] {
        assert!(p.entries[0].graph.writes.iter().any(|w| w.state == s.path), "{}", s.path);
        assert!(p.entries[1].graph.writes.iter().any(|w| w.state == s.path), "{}", s.path);
    }
}
