//! Files as a command line names them: `x.npy`, `a.npz:x`, `w.safetensors:fc1.weight`, or an archive
//! as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlc_diag::Diagnostic;
use mlc_ir::DType;

use super::npz::{self, Npz};
use super::safetensors::{self, SafetensorsFile};
use super::{Cache, atomic_write, csv, error, gzip, idx, npy, read_text};
use crate::host::{Bytes, HostTensor, TensorView};

/// A file, and the key of one array where it is an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    pub path: PathBuf,
    pub key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Npy,
    Npz,
    Safetensors,
    Idx,
    Csv,
    Text,
}

impl FileRef {
    /// `a.npz:x` and `a.safetensors:x` name a key; in any other text a colon belongs to the path.
    pub fn parse(text: &str) -> FileRef {
        let archive = |path: &&str| path.ends_with(".npz") || path.ends_with(".safetensors");
        let split = text.match_indices(':').map(|(i, _)| &text[..i]).find(archive);
        match split {
            Some(path) => {
                FileRef { path: PathBuf::from(path), key: Some(text[path.len() + 1..].to_string()) }
            }
            None => FileRef { path: PathBuf::from(text), key: None },
        }
    }
}

/// One array. An archive without a key must hold exactly one.
pub fn read_one(file: &FileRef, cache: &Cache) -> Result<HostTensor, Diagnostic> {
    let (path, key) = (&file.path, file.key.as_deref());
    match format_of(path)? {
        Format::Npy => npy::read(path, cache),
        Format::Npz => Npz::open(path, cache)?.tensor(key),
        Format::Safetensors => SafetensorsFile::open(path, cache)?.tensor(key),
        Format::Idx => idx::read(path, cache),
        Format::Csv => csv::read(path, cache, &[], DType::F32),
        Format::Text => read_text(path, cache),
    }
}

/// All arrays of a file that is already in memory, in the format that its name says. An array without a
/// name of its own has the empty one.
pub fn from_memory(name: &str, bytes: Bytes) -> Result<Vec<(String, HostTensor)>, Diagnostic> {
    let one = |t: HostTensor| vec![(String::new(), t)];
    let bytes = match gzip::is_gzip(&bytes) {
        true => Bytes::from(gzip::unpack(&name, &bytes, |_| Ok(None))?),
        false => bytes,
    };
    match format_of(Path::new(name))? {
        Format::Npy => npy::parse(&name, &bytes).map(one),
        Format::Npz => all_of_npz(Npz::parse(name.to_string(), bytes)?),
        Format::Safetensors => all_of_safetensors(&SafetensorsFile::parse(name.to_string(), &bytes)?),
        Format::Idx => idx::parse(&name, &bytes).map(one),
        Format::Csv => csv::parse(name, &bytes, &[], DType::F32).map(one),
        Format::Text => {
            let len = bytes.len();
            HostTensor::from_bytes(DType::U8, &[len], bytes).map(one).map_err(|e| error::shape(&name, e))
        }
    }
}

/// All arrays of an archive by name, sorted.
pub fn read_all(path: &Path, cache: &Cache) -> Result<Vec<(String, HostTensor)>, Diagnostic> {
    match format_of(path)? {
        Format::Npz => all_of_npz(Npz::open(path, cache)?),
        Format::Safetensors => all_of_safetensors(&SafetensorsFile::open(path, cache)?),
        _ => Err(Diagnostic::error("E0703", format!("`{}` does not hold arrays by name", path.display()))
            .hint("give a .npz or a .safetensors file")),
    }
}

fn all_of_npz(mut npz: Npz) -> Result<Vec<(String, HostTensor)>, Diagnostic> {
    npz.keys().into_iter().map(|k| npz.tensor(Some(&k)).map(|t| (k, t))).collect()
}

fn all_of_safetensors(file: &SafetensorsFile) -> Result<Vec<(String, HostTensor)>, Diagnostic> {
    file.keys().into_iter().map(|k| file.tensor(Some(&k)).map(|t| (k, t))).collect()
}

/// Writes arrays by name: .npz or .safetensors; a single one also as .npy, a single u8 one as .txt.
pub fn write_all(path: &Path, tensors: &[(&str, TensorView<'_>)]) -> Result<(), Diagnostic> {
    let fault = |what: String, hint: &str| {
        Err(Diagnostic::error("E0703", format!("cannot write `{}`: {what}", path.display())).hint(hint))
    };
    let format = format_of(path).map_err(|d| Diagnostic {
        hint: Some("results are written as .npz or .safetensors, one alone also as .npy, u8 as .txt".into()),
        ..d
    })?;
    match (format, tensors) {
        (Format::Npz, _) => npz::write(path, tensors),
        (Format::Safetensors, _) => safetensors::write(path, tensors, &BTreeMap::new()),
        (Format::Npy, [(_, t)]) => npy::write(path, *t),
        (Format::Text, [(_, t)]) if t.dtype == DType::U8 => atomic_write(path, |w| {
            use std::io::Write;
            w.write_all(t.bytes)
        }),
        (Format::Text, [(name, t)]) => {
            fault(format!("`{name}` is {}, and text is u8", t.dtype), "write a .npz file, or cast to u8")
        }
        (Format::Npy | Format::Text, ts) => {
            fault(format!("it holds one array, and there are {}", ts.len()), "write a .npz file")
        }
        (Format::Idx | Format::Csv, _) => {
            fault("mlc does not write this format".to_string(), "write a .npz or a .safetensors file")
        }
    }
}

/// The key asked for, if it is there; without one, the only key.
pub(super) fn choose(
    name: &str,
    what: &str,
    key: Option<&str>,
    keys: &[String],
) -> Result<String, Diagnostic> {
    match (key, keys) {
        (Some(key), _) if keys.iter().any(|k| k == key) => Ok(key.to_string()),
        (Some(key), _) => Err(error::no_key(&name, what, key, keys)),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Diagnostic::error("E0705", format!("`{name}` has no {what} at all"))),
        (None, _) => {
            Err(Diagnostic::error("E0705", format!("`{name}` has {} {what}s: which one?", keys.len()))
                .note(format!("it has {}", error::list(keys)))
                .hint("name one by its key"))
        }
    }
}

/// By the file's extension, `.gz` aside.
fn format_of(path: &Path) -> Result<Format, Diagnostic> {
    let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let formats = [
        (".npy", Format::Npy),
        (".npz", Format::Npz),
        (".safetensors", Format::Safetensors),
        (".idx", Format::Idx),
        ("-ubyte", Format::Idx),
        (".csv", Format::Csv),
        (".txt", Format::Text),
    ];
    let found = formats.iter().find(|(ending, _)| name.ends_with(ending));
    found.map(|f| f.1).ok_or_else(|| {
        Diagnostic::error("E0703", format!("`{}`: its format is not known by its name", path.display()))
            .hint("use .npy, .npz or .safetensors (.idx, .csv and .txt are read too)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_archives_only() {
        let parsed = |text: &str| {
            let f = FileRef::parse(text);
            (f.path.display().to_string(), f.key)
        };
        assert_eq!(parsed("a.npz:x"), ("a.npz".to_string(), Some("x".to_string())));
        assert_eq!(parsed("d/w.safetensors:fc:1"), ("d/w.safetensors".to_string(), Some("fc:1".to_string())));
        assert_eq!(parsed("c:a.npy"), ("c:a.npy".to_string(), None));
        assert_eq!(parsed("c:/a.npz"), ("c:/a.npz".to_string(), None));
    }
}
