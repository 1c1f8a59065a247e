//! The error of every fallible call: diagnostics and the texts they point into.

use std::fmt;
use std::sync::Arc;

use mlc_diag::{Diagnostic, Diagnostics, SourceMap, Style, render_all};

/// What went wrong, with what is needed to show it.
#[derive(Clone)]
pub struct Error {
    pub diagnostics: Diagnostics,
    pub sources: Arc<SourceMap>,
}

impl Error {
    pub fn new(diagnostics: impl Into<Diagnostics>, sources: &Arc<SourceMap>) -> Error {
        Error { diagnostics: diagnostics.into(), sources: sources.clone() }
    }

    /// An error that speaks of no source text.
    pub fn plain(d: Diagnostic) -> Error {
        Error { diagnostics: d.into(), sources: Arc::default() }
    }

    /// With source lines, for people.
    pub fn render(&self, style: Style) -> String {
        render_all(&self.diagnostics, &self.sources, style)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Style::Plain).trim_end())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
