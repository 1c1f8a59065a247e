//! The AST as text: what `--emit ast` prints and snapshots hold.

use super::ast::File;

/// One node a line, indented by depth; spans left out, so that two texts of one program dump the same.
pub fn dump(file: &File) -> String {
    format!("{file:#?}")
}
