//! Developer tasks: `cargo xtask docs | fuzz | functions`.

use std::process::ExitCode;

mod docs;

const HELP: &str = "\
cargo xtask docs        rewrite docs/ops.md and docs/errors.md from the code
cargo xtask functions   check every f32 function expansion on all 2^32 inputs (hours)
cargo xtask fuzz [N]    run N random programs (default: without end) through all evaluators
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("docs") => docs::write(),
        _ => {
            print!("{HELP}");
            ExitCode::from(2)
        }
    }
}
