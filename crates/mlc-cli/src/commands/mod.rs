//! The subcommands, one file each.

mod artifact;
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

use std::path::Path;

use mlc::cpu::Costs;
use mlc::diag::Diagnostic;
use mlc::{Compiler, Error, Program};

use crate::args::ModelArgs;
use crate::parse;
use crate::show::Show;

/// Compiles the file and shows what was noticed on the way.
fn program(a: &ModelArgs, show: &Show) -> Result<Program, Error> {
    compiled(&a.file, parse::compiler(a)?, show)
}

/// [`program`] with a compiler of one's own.
fn compiled(file: &Path, compiler: Compiler, show: &Show) -> Result<Program, Error> {
    if artifact::is_one(file) {
        let d = Diagnostic::error("E0744", format!("`{}` is an artifact, not a source", file.display()));
        let hint = "use the .mlg file that it was made from; only `mlc run` runs artifacts";
        return Err(Error::plain(d.hint(hint)));
    }
    let program = compiler.costs(costs(show)?).compile_file(file)?;
    show.diagnostics(program.warnings(), program.sources());
    Ok(program)
}

/// What `mlc devices --calibrate` measured, if it did; a file that is no good is a warning.
fn costs(show: &Show) -> Result<Option<Costs>, Error> {
    let Some(path) = mlc::costs::user_table().map_err(Error::plain)? else { return Ok(None) };
    Ok(mlc::costs::read(&path).unwrap_or_else(|warning| {
        show.error(&Error::plain(warning));
        None
    }))
}

/// Compiles the file, or loads the artifact.
fn runnable(a: &ModelArgs, show: &Show) -> Result<Program, Error> {
    if artifact::is_one(&a.file) { artifact::load(a) } else { program(a, show) }
}
