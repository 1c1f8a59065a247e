//! The `mlc` command as a user runs it: results, messages, exit codes, files.

mod artifacts;
mod bad_input;
mod costs;
mod forms;
mod methods;
mod training;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mlc::runtime::HostTensor;
use mlc::runtime::files::npy;
use tempfile::TempDir;

/// A small classifier with its data, in a folder of its own.
pub const MODEL: &str = r#"
model Net {
    fc1 = Linear(4, 8)
    fc2 = Linear(8, 3)

    forward(x: f32[batch, 4]) -> f32[batch, 3] {
        fc2(relu(fc1(x)))
    }
}

dataset Points {
    x: f32[4]  = npy("x.npy")
    label: i64 = npy("label.npy")
}

train {
    model     = Net()
    data      = Points().shuffle(seed: 0).batch(8)
    validate  = Points().batch(16)
    optimizer = sgd(lr: 0.05, momentum: 0.9)
    epochs    = 2

    loss(x, label)            { cross_entropy(model(x), label) }
    metric accuracy(x, label) { argmax(model(x), axis: -1) == label }
}
"#;

/// Samples of the data: five batches of 8 and one of 4.
pub const ROWS: usize = 44;
pub const STEPS_PER_EPOCH: usize = 6;

/// A folder to run in.
pub struct Folder {
    dir: TempDir,
}

/// What a command did.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Folder {
    pub fn empty() -> Folder {
        Folder { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    /// With [`MODEL`] as `net.mlg` and its data.
    pub fn new() -> Folder {
        let f = Folder::empty();
        f.write("net.mlg", MODEL);
        f.floats("x.npy", &[ROWS, 4], |i| ((i * 37 % 101) as f32) / 50.0 - 1.0);
        f.labels("label.npy", ROWS, |i| (i * 7 % 3) as i64);
        f
    }

    /// With a changed text in place of [`MODEL`].
    pub fn with(from: &str, to: &str) -> Folder {
        let f = Folder::new();
        assert!(MODEL.contains(from), "{from}");
        f.write("net.mlg", MODEL.replace(from, to));
        f
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).expect("a file is written");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("text")
    }

    pub fn floats(&self, name: &str, shape: &[usize], value: impl Fn(usize) -> f32) {
        let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
        let t = HostTensor::from_slice(shape, &values).expect("shape");
        npy::write(&self.path(name), t.view()).expect("written");
    }

    pub fn labels(&self, name: &str, n: usize, value: impl Fn(usize) -> i64) {
        let values: Vec<i64> = (0..n).map(value).collect();
        npy::write(&self.path(name), HostTensor::from_slice(&[n], &values).expect("shape").view())
            .expect("written");
    }

    /// `mlc` in this folder, without colours, its cache in the folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(mlc_tests::mlc_bin());
        c.args(args).current_dir(self.dir.path());
        c.env("MLC_CACHE_DIR", self.path("cache")).env_remove("NO_COLOR").env_remove("RUST_BACKTRACE");
        c
    }

    pub fn run(&self, args: &[&str]) -> Done {
        Done::of(&self.command(args).output().expect("mlc runs"))
    }

    /// Runs a line of words without spaces in them.
    pub fn mlc(&self, line: &str) -> Done {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }
}

impl Done {
    pub fn of(o: &Output) -> Done {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        // A process that a signal ended has no code.
        Done { code: o.status.code().unwrap_or(-1), out: text(&o.stdout), err: text(&o.stderr) }
    }

    /// Exit code 0.
    #[track_caller]
    pub fn ok(self) -> Done {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Failed with this exit code and a rendered error of this code that says all of `parts`.
    #[track_caller]
    pub fn fails(self, exit: i32, code: &str, parts: &[&str]) -> Done {
        let shown = format!("exit {}\nstdout:\n{}\nstderr:\n{}", self.code, self.out, self.err);
        assert_eq!(self.code, exit, "{shown}");
        assert!(self.err.contains(&format!("error[{code}]")), "no {code}: {shown}");
        for part in parts {
            assert!(self.err.contains(part), "`{part}` is missing: {shown}");
        }
        assert!(!self.err.contains("panicked") && !self.err.contains('\u{1b}'), "{shown}");
        self
    }
}

/// Files that lie in a folder, hidden ones too.
pub fn files_in(folder: &Path) -> Vec<String> {
    let listed = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> = listed.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
