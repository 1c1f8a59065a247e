//! The binary starts. Also makes `cargo test --workspace` build it for the tests in `tests/`.

use std::process::Command;

#[test]
fn names_its_build() {
    let out = Command::new(env!("CARGO_BIN_EXE_mlc")).arg("--version").output().expect("mlc runs");
    assert!(out.status.success());
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.starts_with(concat!("mlc ", env!("CARGO_PKG_VERSION"))), "{text}");
}

#[test]
fn expressions_are_worth_what_the_language_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/cases/language/values.mlg");
    let out = Command::new(env!("CARGO_BIN_EXE_mlc")).args(["test", file]).output().expect("mlc runs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
}
