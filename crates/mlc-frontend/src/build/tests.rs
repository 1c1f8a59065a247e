//! Tests of the front end as a whole: files to programs and diagnostics.

use std::path::{Path, PathBuf};

use mlc_diag::{Style, render_all};

use super::*;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The disk, with the project's examples beside every file.
struct WithExamples;

impl FileLoader for WithExamples {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let example = || std::fs::read(repository().join("examples").join(path.file_name()?)).ok();
        std::fs::read(path).or_else(|e| example().ok_or(e))
    }
}

/// Compiles a file of the repository and prints what comes of it: for work on the front end.
#[test]
#[ignore = "a tool: MLG=path cargo test -p mlc-frontend show_file -- --ignored --nocapture"]
fn show_file() {
    let Ok(path) = std::env::var("MLG") else { return };
    let start = std::time::Instant::now();
    let c = compile(&WithExamples, Path::new(&path), &Options::default());
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

/// The programs that the finished language runs: now they may only meet what is not built yet.
#[test]
fn programs_have_no_mistakes() {
    let folder = repository().join("tests/cases/programs");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).expect("the programs") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|e| e != "mlg") || path.ends_with("21_misc.mlg") {
            continue;
        }
        seen += 1;
        let c = compile(&WithExamples, &path, &Options::default());
        let bad: Vec<_> =
            c.diagnostics.iter().filter(|d| d.is_error() && d.code != "E0499").cloned().collect();
        let bad = Diagnostics(bad);
        assert!(bad.is_empty(), "{}: {}", path.display(), render_all(&bad, &c.sources, Style::Plain));
    }
    assert!(seen >= 20);
}

#[test]
fn graphs_of_programs_verify() {
    for name in [
        "04_vae",
        "10_dqn",
        "11_gcn",
        "12_pinn",
        "13_multitask",
        "16_pipeline",
        "17_param_groups",
        "18_accumulate",
        "19_early_stop",
    ] {
        let path = repository().join(format!("tests/cases/programs/{name}.mlg"));
        let c = compile(&WithExamples, &path, &Options::default());
        let p = c
            .program
            .unwrap_or_else(|| panic!("{name}: {}", render_all(&c.diagnostics, &c.sources, Style::Plain)));
        for e in &p.entries {
            if let Err(errors) = mlc_ir::graph::verify_entry(&e.graph, &p.states) {
                panic!("{name} {}: {errors}", e.name);
            }
        }
    }
}

/// The programs of a case file, each under a line `//--- what it shows`.
fn sections(area: &str, name: &str) -> Vec<(String, String)> {
    let path = repository().join("tests/cases").join(area).join(format!("{name}.mlg"));
    let text = std::fs::read_to_string(path).expect("a case file");
    text.split("//--- ")
        .filter_map(|s| s.split_once('\n'))
        .map(|(title, text)| (title.to_owned(), text.to_owned()))
        .collect()
}

fn snapshot(area: &str, name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => format!("../../../../tests/cases/{area}"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn mistakes_are_explained() {
    for file in ["types", "names", "models", "training"] {
        let mut out = String::new();
        for (title, text) in sections("check", file) {
            let loader = MemoryLoader::new().with("case.mlg", text);
            let c = compile(&loader, Path::new("case.mlg"), &Options::default());
            out += &format!("//--- {title}\n{}\n", render_all(&c.diagnostics, &c.sources, Style::Plain));
            assert!(!c.diagnostics.is_empty(), "{title}");
        }
        snapshot("check", file, &out);
    }
}

#[test]
fn programs_build_as_recorded() {
    for file in ["models", "training"] {
        let mut out = String::new();
        for (title, text) in sections("build", file) {
            let loader = MemoryLoader::new().with("case.mlg", text);
            let options = Options { tests: true, ..Options::default() };
            let c = compile(&loader, Path::new("case.mlg"), &options);
            let p = c.program.unwrap_or_else(|| {
                panic!("{title}: {}", render_all(&c.diagnostics, &c.sources, Style::Plain))
            });
            out += &format!("//--- {title}\n");
            for s in &p.states {
                out += &format!("{:?} {} {}", s.kind, s.path, s.ty);
                out += &s.aliases.iter().map(|a| format!(" = {a}")).collect::<String>();
                out.push('\n');
            }
            for e in p.entries.iter().filter(|e| e.name != "init") {
                out += &mlc_ir::graph::print_with_sources(&e.graph, &p.sources);
                if let Err(errors) = mlc_ir::graph::verify_entry(&e.graph, &p.states) {
                    panic!("{title} {}: {errors}", e.name);
                }
            }
        }
        snapshot("build", file, &out);
    }
}

fn diagnostics(loader: &MemoryLoader, main: &str) -> String {
    compile(loader, Path::new(main), &Options::default()).diagnostics.to_string()
}

#[test]
fn files_are_found_beside_the_file_that_uses_them() {
    let loader = MemoryLoader::new()
        .with("a/main.mlg", "use \"lib/net.mlg\"\nuse \"lib/net.mlg\" as lib\nnet = Net()\nother = lib.Net(width: half)")
        .with("a/lib/net.mlg", "use \"../sizes.mlg\"\nmodel Net(width: int = width) {\n    fc = Linear(width, 1)\n    forward(x: f32[n, width]) { fc(x) }\n}")
        .with("a/sizes.mlg", "width = 6\nhalf = width / 2");
    let c = compile(&loader, Path::new("a/main.mlg"), &Options::default());
    assert_eq!(c.diagnostics.to_string(), "");
    let p = c.program.expect("a program");
    let types: Vec<String> = p.states.iter().map(|s| format!("{} {}", s.path, s.ty)).collect();
    assert_eq!(
        types[..4],
        ["net.fc.weight f32[1,6]", "net.fc.bias f32[1]", "other.fc.weight f32[1,3]", "other.fc.bias f32[1]"]
    );
}

#[test]
fn files_in_a_circle_are_refused() {
    let loader = MemoryLoader::new().with("a.mlg", "use \"b.mlg\"").with("b.mlg", "use \"./a.mlg\"");
    assert_eq!(diagnostics(&loader, "a.mlg"), "error[E0310]: `./a.mlg` uses itself");
}

#[test]
fn a_file_that_is_not_there() {
    assert_eq!(
        diagnostics(&MemoryLoader::new(), "a.mlg"),
        "error[E0701]: cannot read `a.mlg`: there is no such file"
    );
}

#[test]
fn train_blocks_can_be_chosen() {
    let text = "model M { fc = Linear(2, 1); forward(x: f32[n, 2]) { fc(x) } }\n\
        train a { model = M(); steps = 1; optimizer = sgd(lr: 1); loss() { mean(model(ones(f32[1, 2]))) } }\n\
        train b { model = M(); steps = 2; optimizer = sgd(lr: 1); loss() { mean(model(ones(f32[1, 2]))) } }";
    let loader = MemoryLoader::new().with("m.mlg", text);
    let paths = |train: Option<&str>| {
        let options = Options { train: train.map(str::to_owned), ..Options::default() };
        let c = compile(&loader, Path::new("m.mlg"), &options);
        let p = c.program.unwrap_or_else(|| panic!("{}", c.diagnostics));
        let weights = p.states.iter().filter(|s| s.path.ends_with("weight")).map(|s| s.path.to_string());
        (p.trains.iter().map(|t| t.name.clone()).collect::<Vec<_>>(), weights.collect::<Vec<_>>())
    };
    assert_eq!(
        paths(None),
        (vec!["a".into(), "b".into()], vec!["fc.weight".to_owned(), "b.fc.weight".to_owned()])
    );
    assert_eq!(paths(Some("b")), (vec!["b".into()], vec!["fc.weight".to_owned()]));
}

#[test]
fn devices_are_remapped() {
    let text = "device left = cuda:1\nmodel M { fc = Linear(2, 1) on left; out = Linear(1, 1) on cuda:2; forward(x: f32[n, 2]) { out(fc(x)) } }";
    let loader = MemoryLoader::new().with("m.mlg", text);
    let devices = vec![("left".to_owned(), Device::cpu(3)), ("cuda:2".to_owned(), Device::cpu(4))];
    let c = compile(&loader, Path::new("m.mlg"), &Options { devices, ..Options::default() });
    let p = c.program.unwrap_or_else(|| panic!("{}", c.diagnostics));
    let of = |path: &str| p.state(path).and_then(|s| s.ty.device);
    assert_eq!((of("fc.weight"), of("out.weight")), (Some(Device::cpu(3)), Some(Device::cpu(4))));
}

#[test]
fn garbage_is_refused_quickly() {
    let mut state = 7u64;
    let bytes: String = (0..200_000)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            char::from(b' ' + (state >> 58) as u8)
        })
        .collect();
    let loader = MemoryLoader::new().with("g.mlg", bytes);
    let c = compile(&loader, Path::new("g.mlg"), &Options::default());
    assert!(c.program.is_none() && c.diagnostics.has_errors());
}

/// A generator of numbers for mutations; the same ones on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// One piece of a program (a word, a number, a sign) replaced by another, dropped or doubled.
fn mutated(text: &str, random: &mut Random) -> String {
    let mut pieces: Vec<String> = vec![];
    let mut last = ' ';
    for c in text.chars() {
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        match pieces.last_mut() {
            Some(p) if joins(c) && joins(last) => p.push(c),
            _ => pieces.push(c.to_string()),
        }
        last = c;
    }
    let (i, j) = (random.below(pieces.len()), random.below(pieces.len()));
    match random.below(6) {
        0 => pieces[i].clear(),
        1 => {
            pieces[i] = ["0", "-1", "None", "9223372036854775807", "[]", "()", "x", "f32[n]"][random.below(8)]
                .to_owned()
        }
        2 => pieces.insert(i, pieces[j].clone()),
        _ => pieces[i] = pieces[j].clone(),
    }
    pieces.concat()
}

/// Slips of the keyboard give diagnostics, never a bug of the front end.
#[test]
fn mutated_programs_are_no_bugs() {
    let rounds = std::env::var("MLG_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut random = Random(11);
    let library: String = ["check/types", "check/training", "build/models", "build/training"]
        .iter()
        .map(|f| {
            std::fs::read_to_string(repository().join(format!("tests/cases/{f}.mlg"))).expect("a case file")
        })
        .collect();
    let mut texts: Vec<String> =
        library.split("//--- ").filter_map(|s| Some(s.split_once('\n')?.1.to_owned())).collect();
    for file in std::fs::read_dir(repository().join("tests/cases/programs")).expect("programs") {
        texts.push(std::fs::read_to_string(file.expect("a file").path()).unwrap_or_default());
    }
    let read =
        |name: &str| std::fs::read_to_string(repository().join("examples").join(name)).unwrap_or_default();
    let (nn, gpt) = (read("simple_nn.mlg"), read("gpt.mlg"));
    texts.retain(|t| !t.is_empty());
    for text in &texts {
        for _ in 0..rounds {
            let changed = mutated(text, &mut random);
            let loader = MemoryLoader::new()
                .with("m.mlg", changed.clone())
                .with("simple_nn.mlg", nn.clone())
                .with("gpt.mlg", gpt.clone());
            let options = Options { tests: true, ..Options::default() };
            let c = compile(&loader, Path::new("m.mlg"), &options);
            if let Some(d) = c.diagnostics.iter().find(|d| d.code == "E9999") {
                panic!("{}: {:?}\n{changed}", d.title, d.labels);
            }
            let Some(p) = &c.program else { continue };
            for e in &p.entries {
                if let Err(errors) = mlc_ir::graph::verify_entry(&e.graph, &p.states) {
                    panic!("{}: {errors}\n{changed}", e.name);
                }
            }
        }
    }
}
