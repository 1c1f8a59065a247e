//! Shared test support: where cases and fixtures lie, the `mlc` binary.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file or folder of `tests/cases`.
pub fn case(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(path)
}

/// A file or folder of `tests/fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// The `mlc` binary of this build. `cargo test --workspace` builds it; where it is missing or older
/// than the sources (`cargo test -p mlc-tests`), it is built first, once.
pub fn mlc_bin() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        let test = std::env::current_exe().expect("the test knows its own path");
        let folder = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
        let bin = folder.join(format!("mlc{}", std::env::consts::EXE_SUFFIX));
        let built = std::fs::metadata(&bin).and_then(|m| m.modified()).ok();
        if built.is_none_or(|t| newest_source() > t) {
            build_bin(folder);
        }
        assert!(bin.is_file(), "there is no {}", bin.display());
        bin
    })
}

fn build_bin(folder: &Path) {
    let profile = match folder.file_name().and_then(|n| n.to_str()) {
        Some("release") => "release",
        _ => "dev",
    };
    // With this crate, so that features are as they are for the whole workspace and nothing is built twice.
    let status = std::process::Command::new(env!("CARGO"))
        .args(["build", "--offline", "-q", "-p", "mlc-cli", "-p", "mlc-tests", "--profile", profile])
        .current_dir(root())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "cargo build -p mlc-cli failed");
}

fn newest_source() -> SystemTime {
    fn walk(folder: &Path, newest: &mut SystemTime) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, newest);
            } else if path.extension().is_some_and(|e| e == "rs" || e == "mlg" || e == "pest" || e == "toml")
                && let Ok(t) = entry.metadata().and_then(|m| m.modified())
            {
                *newest = t.max(*newest);
            }
        }
    }
    let mut newest = SystemTime::UNIX_EPOCH;
    for folder in ["crates", "grammar"] {
        walk(&root().join(folder), &mut newest);
    }
    newest
}
