//! Names the target and the sources that make and read artifacts: an artifact is read by the build of mlc that
//! wrote it, for it holds code and structures as those sources have them.

use std::fs;
use std::path::{Path, PathBuf};

/// What an artifact's content depends on.
const CRATES: [&str; 5] = ["mlc", "mlc-cpu", "mlc-diag", "mlc-ir", "mlc-runtime"];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![];
    for name in CRATES {
        let folder = root.join(name).join("src");
        // Not there in a packaged crate: the version alone names the sources then.
        println!("cargo:rerun-if-changed={}", folder.display());
        collect(&folder, &mut files);
    }
    files.sort();
    let hash = files.iter().fold(FNV_START, |hash, f| fnv(hash, &fs::read(f).unwrap_or_default()));
    println!("cargo:rustc-env=MLC_SOURCES={hash:016x}");
    println!("cargo:rustc-env=MLC_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: tells two states of the sources apart, no more is asked of it.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
