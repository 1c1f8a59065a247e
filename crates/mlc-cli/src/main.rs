//! The `mlc` command: arguments, files, terminal. Everything else is the `mlc` crate's.

mod args;
mod commands;
mod entries;
mod exit;
mod inputs;
mod interrupt;
mod memory;
mod parse;
mod progress;
mod show;
mod sizes;
mod suggest;
mod summary;
mod text;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use show::Show;

/// Names the build.
fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (cranelift 0.135.8, ", env!("MLC_BUILD"), ")")
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report_bug));
    // A panic has been reported by the hook; here it becomes an exit code.
    let code = std::panic::catch_unwind(run).unwrap_or(exit::PANIC);
    ExitCode::from(code)
}

fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are results; everything else is a usage error.
            let _ = e.print();
            return if e.use_stderr() { exit::USAGE } else { exit::OK };
        }
    };
    let show = Show::new(cli.color);
    let result = match cli.command {
        Command::Check(a) => commands::check::run(&a, &show),
        Command::Compile(a) => commands::compile::run(&a, &show),
        Command::Run(a) => commands::run::run(&a, &show),
        Command::Test(a) => commands::test::run(&a, &show),
        Command::Fmt(a) => commands::fmt::run(&a, &show),
        Command::Doc { name } => commands::doc::run(name.as_deref()),
        Command::Explain(a) => commands::explain::run(&a, &show),
        Command::Devices { calibrate } => commands::devices::run(calibrate, &show),
    };
    result.unwrap_or_else(|e| {
        show.error(&e);
        exit::code_of(&e.diagnostics)
    })
}

/// A panic is a bug in mlc: says where, and what to do.
fn report_bug(info: &std::panic::PanicHookInfo<'_>) {
    let payload = info.payload();
    let what = payload.downcast_ref::<&str>().map(|s| (*s).to_string());
    let what = what.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    let at = info.location().map_or(String::new(), |l| format!(" at {}:{}", l.file(), l.line()));
    show::err(&format!(
        "error[E9999]: internal compiler error{at}: {what}\n  = help: this is a bug in mlc, not in your model; \
         please report it with the .mlg file, the command and this message (mlc {})\n",
        version()
    ));
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|v| v != "0") {
        show::err(&format!("{}\n", std::backtrace::Backtrace::force_capture()));
    }
}
