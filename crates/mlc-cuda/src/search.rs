//! Where CUDA libraries may lie, in the order in which they are looked for.

use std::path::{Path, PathBuf};

/// The environment that decides where to look; given, so that tests need not change the process's.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All folders that exist, without repetition: `MLC_CUDA_LIB_DIR`, `CUDA_HOME` and `CUDA_PATH`,
/// `CONDA_PREFIX`, the Python packages `nvidia-*` of the active environment and of each python3 on
/// `PATH`, `LD_LIBRARY_PATH`, `/usr/local/cuda*`, the distribution's folders.
pub fn folders() -> Vec<PathBuf> {
    folders_in(&|name| std::env::var(name).ok().filter(|v| !v.is_empty()), Path::new("/"))
}

pub(crate) fn folders_in(env: Env<'_>, root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = vec![];
    let mut add = |folder: PathBuf| {
        if folder.is_dir() && !found.contains(&folder) {
            found.push(folder);
        }
    };
    let paths = |name: &str| -> Vec<PathBuf> {
        env(name).map(|v| std::env::split_paths(&v).collect()).unwrap_or_default()
    };
    paths("MLC_CUDA_LIB_DIR").into_iter().for_each(&mut add);
    for name in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(home) = env(name) {
            toolkit(Path::new(&home)).into_iter().for_each(&mut add);
        }
    }
    if let Some(prefix) = env("CONDA_PREFIX") {
        add(Path::new(&prefix).join("lib"));
    }
    let pythons = paths("PATH").into_iter().filter(|bin| bin.join("python3").exists());
    let prefixes = pythons.filter_map(|bin| bin.parent().map(Path::to_path_buf));
    for prefix in env("VIRTUAL_ENV").map(PathBuf::from).into_iter().chain(prefixes) {
        wheels(&prefix).into_iter().for_each(&mut add);
    }
    paths("LD_LIBRARY_PATH").into_iter().for_each(&mut add);
    let mut installed = entries(&root.join("usr/local"), "cuda");
    // `cuda` is a link to the version that is in use; then the newest.
    installed.sort_by_key(|p| (p.file_name().is_some_and(|n| n != "cuda"), std::cmp::Reverse(p.clone())));
    installed.iter().flat_map(|home| toolkit(home)).for_each(&mut add);
    for folder in
        ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib", "usr/lib/wsl/lib"]
    {
        add(root.join(folder));
    }
    found
}

fn toolkit(home: &Path) -> Vec<PathBuf> {
    ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"].map(|l| home.join(l)).into()
}

/// `lib/python3.*/site-packages/nvidia/*/lib` under an installation of Python.
fn wheels(prefix: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for python in entries(&prefix.join("lib"), "python3") {
        for packages in ["site-packages", "dist-packages"] {
            let nvidia = python.join(packages).join("nvidia");
            found.extend(entries(&nvidia, "").into_iter().map(|p| p.join("lib")));
        }
    }
    found
}

/// What lies in a folder under names that start with `prefix`, sorted.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(listed) = std::fs::read_dir(folder) else { return vec![] };
    let mut found: Vec<PathBuf> = listed
        .filter_map(Result::ok)
        .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
        .map(|e| e.path())
        .collect();
    found.sort();
    found
}

/// The first file `lib<name>.so`, or `lib<name>.so.N` with the greatest N, in the folders.
pub(crate) fn library(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().find_map(|folder| {
        let plain = format!("lib{name}.so");
        let version = |p: &PathBuf| -> Option<Vec<u32>> {
            let file = p.file_name()?.to_str()?.strip_prefix(&plain)?;
            match file {
                "" => Some(vec![]),
                v => v.strip_prefix('.')?.split('.').map(|n| n.parse().ok()).collect(),
            }
        };
        entries(folder, &plain).into_iter().filter(|p| version(p).is_some()).max_by_key(version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_in_order_and_exist() {
        let root = tempfile::tempdir().unwrap();
        let at = |p: &str| root.path().join(p);
        for folder in [
            "own",
            "venv/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib",
            "py/bin",
            "py/lib/python3.12/site-packages/nvidia/cu13/lib",
            "usr/local/cuda-12.4/lib64",
            "usr/local/cuda-13.0/lib64",
            "usr/lib64",
        ] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::write(at("py/bin/python3"), "").unwrap();
        let text = |p: &str| Some(at(p).display().to_string());
        let env = |name: &str| match name {
            "MLC_CUDA_LIB_DIR" => text("own"),
            "VIRTUAL_ENV" => text("venv"),
            "PATH" => text("py/bin"),
            "CUDA_HOME" => text("nowhere"),
            _ => None,
        };
        let found = folders_in(&env, root.path());
        let names: Vec<String> =
            found.iter().map(|p| p.strip_prefix(root.path()).unwrap().display().to_string()).collect();
        assert_eq!(
            names,
            [
                "own",
                "venv/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib",
                "py/lib/python3.12/site-packages/nvidia/cu13/lib",
                "usr/local/cuda-13.0/lib64",
                "usr/local/cuda-12.4/lib64",
                "usr/lib64",
            ]
        );
    }

    #[test]
    fn the_newest_version_in_the_first_folder_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        for folder in [&a, &b] {
            std::fs::create_dir(folder).unwrap();
        }
        for file in [
            "libnvrtc.so.12",
            "libnvrtc.so.13.0.88",
            "libnvrtc.so.9",
            "libnvrtc.so.alt",
            "libnvrtc-builtins.so.13",
        ] {
            std::fs::write(a.join(file), "").unwrap();
        }
        std::fs::write(b.join("libnvrtc.so.99"), "").unwrap();
        let folders = [root.path().join("none"), a.clone(), b];
        assert_eq!(library("nvrtc", &folders), Some(a.join("libnvrtc.so.13.0.88")));
        assert_eq!(library("cublasLt", &folders), None);
    }
}
