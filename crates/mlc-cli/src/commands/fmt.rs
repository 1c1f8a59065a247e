//! `mlc fmt FILE...`: rewrites files in the one canonical form.

use std::path::Path;

use mlc::Error;
use mlc::diag::{Diagnostic, SourceMap, io_reason};
use mlc::frontend::syntax;
use mlc::runtime::files::atomic_write;

use crate::args::FmtArgs;
use crate::exit;
use crate::show::{Show, err};

pub fn run(a: &FmtArgs, show: &Show) -> Result<u8, Error> {
    let mut code = exit::OK;
    for file in &a.files {
        match one(file, a.check) {
            Ok(changes) => {
                if changes && a.check {
                    err(&format!("{} would change\n", file.display()));
                    code = exit::FAILED;
                }
            }
            // The other files are formatted all the same.
            Err(e) => {
                show.error(&e);
                code = exit::FAILED;
            }
        }
    }
    Ok(code)
}

/// Formats one file; says whether that changes it.
fn one(path: &Path, check: bool) -> Result<bool, Error> {
    let bytes = std::fs::read(path).map_err(|e| Error::plain(unreadable(path, &e)))?;
    let mut sources = SourceMap::new();
    let id =
        sources.add(path.display().to_string(), Some(path.to_path_buf()), String::from_utf8_lossy(&bytes));
    let Ok(text) = std::str::from_utf8(&bytes) else {
        let parsed = syntax::parse_bytes(id, &bytes);
        return Err(Error::new(parsed.diagnostics, &sources.into()));
    };
    let formatted = match syntax::format_source(id, text) {
        Ok(formatted) => formatted,
        Err(ds) => return Err(Error::new(ds, &sources.into())),
    };
    if formatted == text {
        return Ok(false);
    }
    if !check {
        use std::io::Write;
        atomic_write(path, |out| out.write_all(formatted.as_bytes())).map_err(Error::plain)?;
    }
    Ok(true)
}

pub fn unreadable(path: &Path, e: &std::io::Error) -> Diagnostic {
    Diagnostic::error("E0701", format!("cannot read `{}`: {}", path.display(), io_reason(e)))
}
