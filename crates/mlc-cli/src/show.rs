//! What goes to the terminal: diagnostics and progress to stderr, results to stdout.

use std::io::{IsTerminal, Write};

use mlc::Error;
use mlc_diag::{Diagnostic, Diagnostics, SourceMap, Style, render_all};

use crate::args::ColorChoice;

/// How diagnostics are rendered in this process.
#[derive(Debug, Clone, Copy)]
pub struct Show {
    style: Style,
}

impl Show {
    pub fn new(color: ColorChoice) -> Show {
        let wanted = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let disabled = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
                std::io::stderr().is_terminal()
                    && !disabled
                    && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
            }
        };
        Show { style: if wanted { Style::Ansi } else { Style::Plain } }
    }

    pub fn error(&self, e: &Error) {
        self.diagnostics(&e.diagnostics, &e.sources);
    }

    pub fn diagnostics(&self, ds: &Diagnostics, sources: &SourceMap) {
        if !ds.is_empty() {
            let text = render_all(ds, sources, self.style);
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }

    pub fn one(&self, d: Diagnostic, sources: &SourceMap) {
        self.diagnostics(&d.into(), sources);
    }
}

/// Writes results to stdout. A reader that went away (`| head`) is no error; a full disk ends the process.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(e) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        && e.kind() != std::io::ErrorKind::BrokenPipe
    {
        err(&format!("error: cannot write to stdout: {e}\n"));
        std::process::exit(crate::exit::FAILED.into());
    }
}

/// Writes to stderr what is no diagnostic: progress, notes.
pub fn err(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
