//! Which ops share a kernel: every file of `tests/cases/kernels` beside the list of its kernels.
//!
//! The first line of a file names the entry and its dims: `// entry: train.step batch=64`.

use std::path::Path;

use mlc::Compiler;
use mlc::frontend::build::{DiskLoader, FileLoader};
use mlc::testing::kernels_text;
use mlc_tests::case;

type Dims = Vec<(String, i64)>;

fn first_line(text: &str) -> (String, Dims) {
    let line = text.lines().next().and_then(|l| l.strip_prefix("// entry: ")).expect("a line `// entry: ..`");
    let mut words = line.split_whitespace().map(str::to_string);
    let entry = words.next().expect("an entry");
    let dim = |w: String| {
        let (name, n) = w.split_once('=').expect("dims are NAME=N");
        (name.to_string(), n.parse().expect("a number"))
    };
    (entry, words.map(dim).collect())
}

#[test]
fn kernel_lists() {
    let mut files: Vec<_> = std::fs::read_dir(case("kernels")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "mlg"));
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let (entry, dims) = first_line(&text);
        let model = entry.split_once('.').map_or("", |e| e.0);
        // Working memory, by which calls are ordered, depends on the number of threads.
        let compiler = Compiler::new().threads(2);
        let compiler = if model == "train" { compiler } else { compiler.model(model) };
        let program = compiler.compile_file(&path).unwrap_or_else(|e| panic!("{e}"));
        let name = if model == "train" { entry.as_str() } else { "forward" };
        let dims: Vec<(&str, i64)> = dims.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        let list = kernels_text(&program, name, &dims);
        insta::with_settings!({
            snapshot_path => "../cases/kernels",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), format!("{text}\n{list}"));
        });
    }
}

/// A deep stack compiles few kernels: equal layers share them.
#[test]
fn forty_eight_layers_share_kernels() {
    let program = Compiler::new().model("Stack").compile_file(case("deep_stack.mlg"));
    let program = program.unwrap_or_else(|e| panic!("{e}"));
    let binding = [("batch".into(), 2), ("time".into(), 16)].into_iter().collect();
    let lowered = program.lower("forward", &binding).unwrap_or_else(|e| panic!("{e}"));
    let (kernels, calls) = (lowered.program().kernels.len(), lowered.program().calls.len());
    assert!(calls > 48 * 20 && kernels <= 32, "{kernels} kernels, {calls} calls");
}

/// A whole training step, with clipping and an optimizer of two groups: the same kernels at any depth, and everything
/// else linear in it. docs/kernels.md says what each of the 36 is.
#[test]
fn a_deep_training_step_is_linear_in_its_depth() {
    let text = std::fs::read_to_string(case("deep_gpt.mlg")).unwrap();
    let sizes = |depth: usize| {
        let text = text.replace("depth: 48", &format!("depth: {depth}"));
        let program = Compiler::new().compile_with(&Beside { text }, &case("deep_gpt.mlg"));
        let program = program.unwrap_or_else(|e| panic!("{e}"));
        let binding = [("batch".into(), 2)].into_iter().collect();
        let lowered = program.lower("train.step", &binding).unwrap_or_else(|e| panic!("{e}"));
        let p = lowered.program();
        (p.kernels.len(), [p.calls.len(), p.buffers.len(), lowered.decisions.len()])
    };
    let [(k, a), (l, b), (kernels, c)] = [12, 24, 48].map(sizes);
    assert!(kernels <= 36 && [k, l] == [kernels; 2], "{k}, {l}, {kernels} kernels at 12, 24, 48 layers");
    for i in 0..3 {
        // A kernel of segments holds so many and no more, so that some calls are of one kernel more.
        let (first, second) = (2 * (b[i] - a[i]), c[i] - b[i]);
        assert!(second <= first + first / 50, "calls, buffers, decisions: {a:?} {b:?} {c:?}");
    }
}

/// The disk, with another text for one file.
struct Beside {
    text: String,
}

impl FileLoader for Beside {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        if path.ends_with("deep_gpt.mlg") { Ok(self.text.clone().into()) } else { DiskLoader.read(path) }
    }
}
