//! The binary starts. Also makes `cargo test --workspace` build it for the tests in `tests/`.

use std::process::Command;

#[test]
fn names_its_build() {
    let out = Command::new(env!("CARGO_BIN_EXE_mlc")).arg("--version").output().expect("mlc runs");
    assert!(out.status.success());
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.starts_with(concat!("mlc ", env!("CARGO_PKG_VERSION"))), "{text}");
}
