//! The generated pages of docs/.

use std::path::Path;
use std::process::ExitCode;

/// Writes each page anew.
pub fn write() -> ExitCode {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let pages = [("ops.md", mlc::ir::op::ops_markdown()), ("errors.md", mlc::diag::catalogue::markdown())];
    for (name, text) in pages {
        if let Err(e) = std::fs::write(docs.join(name), text) {
            eprintln!("cannot write docs/{name}: {e}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
