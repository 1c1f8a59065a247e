//! `cargo xtask mutate`: makes one deliberate mistake after another (see `mlc_ir::mutate`) and runs the tests that
//! are there for it. A mistake that they do not notice is a hole in the suite, and fails the task.

use std::process::{Command, ExitCode, Stdio};

use mlc_ir::mutate::Mutation;

/// Tests that must notice: a package and a filter of test names.
type Tests = &'static [(&'static str, &'static str)];

fn tests_of(mutation: Mutation) -> Tests {
    use Mutation::*;
    match mutation {
        DropGuard | PadOther => &[("mlc-passes", "lower::tests"), ("mlc-passes", "op_tests")],
        LessForLessEqual | SwapMax => &[("mlc-cpu", "prims"), ("mlc-cpu", "random")],
        FuseMultiplyAdd => &[("mlc-cpu", "forms"), ("mlc-cpu", "contract")],
        NarrowLabel => &[("mlc-cpu", "loops")],
        LongRest => &[("mlc-cpu", "vector")],
        KeepUppers => &[("mlc-cpu", "machine")],
        ShortSums => &[("mlc-cpu", "contract")],
        UnalignedChunk | DropBarrier => &[("mlc-cpu", "loops")],
        PlusZero | FoldFrom64 => &[("mlc-cpu", "loops"), ("mlc-cpu", "random")],
        OmitHazard | WriteBeforeRead => &[("mlc-passes", "lower::tests"), ("mlc-passes", "order")],
        ShortLife => &[("mlc-passes", "lower::tests")],
        EarlyDonation => &[("mlc-passes", "form_kernels"), ("mlc-passes", "order")],
        ShiftedInPlace => &[("mlc-passes", "lower::tests")],
        HashIgnoresStride => &[("mlc-ir", "hash")],
        KeepDropped | ShareFolded => &[("mlc-passes", "remat")],
    }
}

/// Runs one mutation by name, or all.
pub fn run(name: Option<&str>) -> ExitCode {
    let chosen: Vec<Mutation> =
        Mutation::ALL.iter().copied().filter(|m| name.is_none_or(|n| n == m.name())).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = Mutation::ALL.iter().map(|m| m.name()).collect();
        eprintln!("there is no such mutation; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let mut once: Vec<(&str, &str)> = chosen.iter().flat_map(|&m| tests_of(m)).copied().collect();
    once.sort_unstable();
    once.dedup();
    for &(package, filter) in &once {
        if !passes(package, filter, None) {
            println!("FAILED    {package} {filter}, without any mutation");
            return ExitCode::FAILURE;
        }
    }
    let mut survivors = 0;
    for m in chosen {
        match tests_of(m).iter().find(|(package, filter)| !passes(package, filter, Some(m))) {
            Some((package, filter)) => println!("killed    {}, by {package} {filter}", m.name()),
            None => {
                survivors += 1;
                println!("SURVIVED  {}: {}", m.name(), m.what());
            }
        }
    }
    if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Do the library tests of a package pass? They must be there: a filter that finds nothing is a failure of its own.
fn passes(package: &str, filter: &str, mutation: Option<Mutation>) -> bool {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "test",
        "--quiet",
        "--package",
        package,
        "--lib",
        "--features",
        "mlc-ir/mutate",
        "--",
        filter,
    ]);
    cargo.env_remove("MLC_MUTATE").stderr(Stdio::null());
    if let Some(m) = mutation {
        cargo.env("MLC_MUTATE", m.name());
    }
    let Ok(done) = cargo.output() else { return false };
    let out = String::from_utf8_lossy(&done.stdout);
    let found = !out.contains("running 0 tests") || mutation.is_some();
    done.status.success() && found
}
