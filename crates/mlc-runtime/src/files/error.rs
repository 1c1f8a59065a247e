//! The wording of what can be wrong with a file. The dataset or the command that wanted the file adds
//! where in the source it is named.

use std::fmt::Display;
use std::io;
use std::path::Path;

use mlc_diag::{Diagnostic, io_reason};

use crate::host::ShapeError;

/// The file is not there or may not be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let d = Diagnostic::error("E0701", format!("cannot read `{}`: {}", path.display(), io_reason(error)));
    if error.kind() != io::ErrorKind::NotFound {
        return d;
    }
    let missing = path.ancestors().skip(1).take_while(|p| !p.as_os_str().is_empty() && !p.exists()).last();
    match missing {
        Some(folder) => d.note(format!("there is no folder `{}`", folder.display())),
        None => d,
    }
}

/// The bytes are not what the format asks for.
pub(crate) fn malformed(name: &dyn Display, format: &str, what: impl Display) -> Diagnostic {
    Diagnostic::error("E0702", format!("`{name}` is not a valid {format} file: {what}"))
}

/// Fewer bytes than the header says.
pub(crate) fn truncated(name: &dyn Display, format: &str, expected: u64, found: u64) -> Diagnostic {
    let what = format!("its header asks for {expected} bytes, but it has {found}");
    malformed(name, format, what).hint("the file is cut off; fetch or write it again")
}

/// More bytes than the header says.
pub(crate) fn trailing(name: &dyn Display, format: &str, expected: u64, found: Option<u64>) -> Diagnostic {
    let found = found.map_or("more".to_string(), |f| f.to_string());
    malformed(name, format, format!("its header asks for {expected} bytes, but it has {found}"))
        .hint("there are bytes after the data; the header or the file is damaged")
}

/// An element type that mlc has no dtype for.
pub(crate) fn no_dtype(name: &dyn Display, what: impl Display) -> Diagnostic {
    Diagnostic::error("E0704", format!("`{name}` holds elements of type {what}, which mlc cannot read"))
        .hint("save the array as bool, u8, i8, i16, i32, i64, f16, f32 or f64")
}

/// An archive without the array asked for.
pub(crate) fn no_key(name: &dyn Display, what: &str, key: &str, there: &[String]) -> Diagnostic {
    let d = Diagnostic::error("E0705", format!("`{name}` has no {what} `{key}`"));
    match there {
        [] => d.note(format!("it has no {what} at all")),
        there => d.note(format!("it has {}", list(there))),
    }
}

/// More memory than there is.
pub(crate) fn too_large(name: &dyn Display, bytes: impl Display) -> Diagnostic {
    Diagnostic::error("E0711", format!("`{name}` needs {bytes} bytes, more than there is memory for"))
}

pub(crate) fn shape(name: &dyn Display, error: ShapeError) -> Diagnostic {
    match error {
        ShapeError::TooLarge { .. } => Diagnostic::error("E0711", format!("`{name}`: {error}")),
        _ => Diagnostic::error("E0702", format!("`{name}` does not hold what it says: {error}")),
    }
}

/// What could not be written, and that nothing was lost.
pub(crate) fn unwritable(path: &Path, error: &io::Error, existed: bool) -> Diagnostic {
    let d = Diagnostic::error("E0712", format!("cannot write `{}`: {}", path.display(), io_reason(error)));
    if existed { d.note("the file that was there before is unchanged") } else { d }
}

/// At most eight names, quoted.
pub(crate) fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(8).map(|n| format!("`{n}`")).collect();
    match names.len().saturating_sub(8) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
