//! The `mlc` command: arguments, files, terminal. Everything else is the `mlc` crate's.

mod args;
mod commands;
mod exit;
mod parse;
mod progress;
mod show;
mod summary;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use show::Show;

/// Names the build.
fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (cranelift 0.135.8, ", env!("MLC_BUILD"), ")")
}

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|e| {
        // Help and version are results; everything else is a usage error.
        let _ = e.print();
        std::process::exit(if e.use_stderr() { exit::USAGE.into() } else { exit::OK.into() })
    });
    let show = Show::new(cli.color);
    let result = match cli.command {
        Command::Check(a) => commands::check::run(&a, &show),
        Command::Compile(a) => commands::compile::run(&a, &show),
        Command::Run(a) => commands::run::run(&a, &show),
        Command::Test(a) => commands::test::run(&a, &show),
        Command::Fmt(a) => commands::fmt::run(&a, &show),
        Command::Doc { name } => commands::doc::run(name.as_deref()),
        Command::Explain(a) => commands::explain::run(&a, &show),
        Command::Devices { calibrate } => commands::devices::run(calibrate),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            show.error(&e);
            ExitCode::from(exit::code_of(&e.diagnostics))
        }
    }
}
