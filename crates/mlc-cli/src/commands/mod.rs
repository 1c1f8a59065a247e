//! The subcommands, one file each.

pub mod call;
pub mod check;
pub mod compile;
pub mod devices;
pub mod doc;
pub mod explain;
pub mod fmt;
mod gradcheck;
pub mod run;
pub mod test;

use mlc::{Error, Program};

use crate::args::ModelArgs;
use crate::show::Show;

/// Compiles the file and shows what was noticed on the way.
fn program(a: &ModelArgs, show: &Show) -> Result<Program, Error> {
    let program = crate::parse::compiler(a)?.compile_file(&a.file)?;
    show.diagnostics(program.warnings(), program.sources());
    Ok(program)
}
