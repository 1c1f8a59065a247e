//! The workspace against its own rules: crate edges, the code map, module headers, diagnostic codes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    mlc_tests::root()
}

/// Which crates of the workspace each may depend on (dev-dependencies aside).
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let libraries =
        vec!["mlc-diag", "mlc-ir", "mlc-frontend", "mlc-passes", "mlc-runtime", "mlc-cpu", "mlc-cuda"];
    BTreeMap::from([
        ("mlc-diag", vec![]),
        ("mlc-ir", vec!["mlc-diag"]),
        ("mlc-frontend", vec!["mlc-ir", "mlc-diag"]),
        ("mlc-passes", vec!["mlc-ir", "mlc-diag"]),
        ("mlc-runtime", vec!["mlc-ir", "mlc-diag"]),
        ("mlc-cpu", vec!["mlc-ir", "mlc-diag", "mlc-runtime"]),
        ("mlc-cuda", vec!["mlc-ir", "mlc-diag", "mlc-runtime"]),
        ("mlc", libraries),
        ("mlc-cli", vec!["mlc", "mlc-diag"]),
        ("mlc-tests", vec!["mlc", "mlc-ir"]),
        ("xtask", vec!["mlc", "mlc-ir"]),
        ("embed", vec!["mlc"]),
    ])
}

#[test]
fn crates_depend_only_on_what_they_may() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".into()])
        .exec()
        .expect("cargo metadata runs");
    let names: BTreeSet<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    let allowed = allowed();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let may = allowed.get(name).unwrap_or_else(|| panic!("`{name}` is not in the list of crate edges"));
        for d in &package.dependencies {
            let dev = d.kind == cargo_metadata::DependencyKind::Development;
            if names.contains(&d.name) && !dev {
                assert!(may.contains(&d.name.as_str()), "`{name}` may not depend on `{}`", d.name);
            }
        }
    }
}

#[test]
fn the_code_map_names_every_crate() {
    let map = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("docs/ARCHITECTURE.md");
    for name in allowed().keys() {
        assert!(map.contains(&format!("`{name}`")), "docs/ARCHITECTURE.md does not name `{name}`");
    }
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut files = vec![];
    for dir in ["crates", "tests", "examples"] {
        rust_files(&root().join(dir), &mut files);
    }
    assert!(files.len() > 50, "the sources were found");
    files.into_iter().map(|p| (p.clone(), std::fs::read_to_string(&p).expect("readable"))).collect()
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<PathBuf> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(p, _)| p).collect();
    assert!(silent.is_empty(), "without a //! header: {silent:?}");
}

/// Codes in string literals of one line: `"E0203"`.
fn codes(text: &str) -> BTreeSet<String> {
    let is_code =
        |s: &&str| s.len() == 5 && s.starts_with(['E', 'W']) && s[1..].bytes().all(|b| b.is_ascii_digit());
    text.split('"').filter(is_code).map(str::to_string).collect()
}

#[test]
fn the_catalogue_has_exactly_the_codes_in_use() {
    let mut used = BTreeSet::new();
    for (path, text) in sources() {
        if !path.ends_with("catalogue.rs") && path.components().any(|c| c.as_os_str() == "src") {
            used.extend(codes(&text));
        }
    }
    let listed: Vec<String> = mlc::diag::catalogue::ENTRIES.iter().map(|e| e.code.to_string()).collect();
    assert!(listed.windows(2).all(|w| w[0] < w[1]), "the catalogue is sorted, without repeats");
    let listed: BTreeSet<String> = listed.into_iter().collect();
    let missing: Vec<_> = used.difference(&listed).collect();
    let dead: Vec<_> = listed.difference(&used).collect();
    assert!(missing.is_empty(), "used but not in the catalogue: {missing:?}");
    assert!(dead.is_empty(), "in the catalogue but used nowhere: {dead:?}");
}
