//! Developer tasks: `cargo xtask bench | docs | functions | fuzz`.

use std::process::ExitCode;

mod bench;
mod docs;
mod functions;
mod fuzz;
mod mutate;

const HELP: &str = "\
cargo xtask bench ...         speed, beside PyTorch and JAX with --peers; says more with --help
cargo xtask docs              rewrite docs/ops.md and docs/errors.md from the code
cargo xtask functions [NAME]  check f32 function expansions on all 2^32 inputs (a minute or two each)
cargo xtask mutate [NAME]     deliberate mistakes, one after another: do the tests notice?
cargo xtask fuzz [FROM [N]]   random programs through all evaluators, from a seed, without end unless N is given
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["bench", ref rest @ ..] => bench::run(rest),
        ["docs"] => docs::write(),
        ["functions"] => functions::check(None),
        ["functions", name] => functions::check(Some(name)),
        ["mutate"] => mutate::run(None),
        ["mutate", name] => mutate::run(Some(name)),
        ["fuzz"] => fuzz::run(0, u64::MAX),
        ["fuzz", from] => from.parse().map_or_else(|_| usage(), |from| fuzz::run(from, u64::MAX)),
        ["fuzz", from, n] => match (from.parse(), n.parse()) {
            (Ok(from), Ok(n)) => fuzz::run(from, n),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    print!("{HELP}");
    ExitCode::from(2)
}
