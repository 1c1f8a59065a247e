//! `mlc fmt`: text to the same program in the canonical style.
//!
//! Works on tokens, not on the AST, so that no comment can get lost and no literal is rewritten. The
//! text must parse; the result has the same AST and is a fixed point.
//!
//! The style:
//! - Four blanks a level, one blank around operators, at most one blank line, lines up to [`WIDTH`].
//! - A block whose source stands on one line stays on one line while it fits. A list or call whose first
//!   element begins a new line stays broken, with its author's rows; one that does not fit is broken
//!   with an element a row. Breaks after an operator and before `.name`, `->` and `where` are kept.
//! - Consecutive one-line members align their types and `=`, path maps their values, and one-line losses and
//!   metrics their `{`, as long as that needs little padding. In bodies the author decides: statements
//!   whose `=` stood in one column keep one column.
//! - Comments at the end of a line keep their column where the code leaves room.

mod align;
mod layout;
mod rows;
mod tree;

use mlc_diag::{Diagnostics, SourceId};

use super::parse::parse;
use super::scan::scan;

/// Columns that a line may take.
pub const WIDTH: usize = 110;

/// The canonical text of a program, or why it is none. Spans are of source 0; see [`format_source`].
pub fn format(text: &str) -> Result<String, Diagnostics> {
    format_source(SourceId(0), text)
}

/// [`format()`] of a text that is in a source map.
pub fn format_source(source: SourceId, text: &str) -> Result<String, Diagnostics> {
    let diagnostics = parse(source, text).diagnostics;
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let tokens = scan(text);
    let tree = tree::build(text, &tokens);
    Ok(layout::Layout::new(text, &tokens).file(&tree))
}
