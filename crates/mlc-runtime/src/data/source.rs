//! Where a field's values are: an open file or an array in memory.

use std::path::{Path, PathBuf};

use mlc_diag::Diagnostic;
use mlc_ir::DType;
use mlc_ir::program::{FieldDim, FieldSpec, SourceKind, SourceSpec};

use super::{LoadOptions, random};
use crate::files::{self, Cache, npz::Npz, safetensors::SafetensorsFile};
use crate::host::{AlignedBuf, Bytes, HostTensor};

/// A field's values.
#[derive(Debug, Clone)]
pub enum Source {
    /// Samples along the first axis; all of it for a shared field.
    Array(HostTensor),
    Windows(Windows),
    /// The caller gives them at each step.
    Fed,
}

/// Pieces of `window` bytes, starting every `stride` bytes of each file, none across two files.
#[derive(Debug, Clone)]
pub struct Windows {
    files: Vec<Bytes>,
    /// Samples before each file, and in all at the end.
    starts: Vec<usize>,
    window: usize,
    stride: usize,
}

impl Windows {
    /// Neither `window` nor `stride` is 0.
    fn new(files: Vec<Bytes>, window: usize, stride: usize) -> Windows {
        let mut starts = vec![0];
        let mut total = 0usize;
        for f in &files {
            total += f.len().checked_sub(window).map_or(0, |rest| rest / stride + 1);
            starts.push(total);
        }
        Windows { files, starts, window, stride }
    }

    pub fn rows(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    pub fn window(&self) -> usize {
        self.window
    }

    /// A sample's bytes; `row` is less than [`Windows::rows`].
    fn row(&self, row: usize) -> &[u8] {
        let file = self.starts.partition_point(|&s| s <= row) - 1;
        let at = (row - self.starts[file]) * self.stride;
        &self.files[file][at..at + self.window]
    }
}

impl Source {
    /// The number of samples; `None` for what the caller feeds, and for an array without axes.
    pub fn rows(&self) -> Option<usize> {
        match self {
            Source::Array(t) => t.shape().first().copied(),
            Source::Windows(w) => Some(w.rows()),
            Source::Fed => None,
        }
    }

    pub(super) fn dtype(&self) -> DType {
        match self {
            Source::Array(t) => t.dtype(),
            Source::Windows(_) | Source::Fed => DType::U8,
        }
    }

    pub(super) fn shape(&self) -> Vec<usize> {
        match self {
            Source::Array(t) => t.shape().to_vec(),
            Source::Windows(w) => vec![w.rows(), w.window()],
            Source::Fed => vec![],
        }
    }

    /// Copies samples into `out`, which is exactly as long as they are. Every row is one of the source's.
    pub(super) fn gather(&self, rows: impl Iterator<Item = usize>, out: &mut [u8]) {
        match self {
            Source::Array(t) => {
                let size = t.bytes().len().checked_div(t.shape()[0]).unwrap_or(0);
                if size > 0 {
                    out.chunks_exact_mut(size)
                        .zip(rows)
                        .for_each(|(o, r)| o.copy_from_slice(&t.bytes()[r * size..][..size]));
                }
            }
            Source::Windows(w) => {
                out.chunks_exact_mut(w.window).zip(rows).for_each(|(o, r)| o.copy_from_slice(w.row(r)));
            }
            Source::Fed => {}
        }
    }

    /// As [`Source::gather`] for neighbouring samples: one copy where they lie side by side.
    pub(super) fn gather_range(&self, start: usize, count: usize, out: &mut [u8]) {
        match self {
            Source::Array(t) => {
                let size = t.bytes().len().checked_div(t.shape()[0]).unwrap_or(0);
                out.copy_from_slice(&t.bytes()[start * size..][..count * size]);
            }
            _ => self.gather(start..start + count, out),
        }
    }

    /// All of it as one array.
    fn into_array(self, name: &str) -> Result<HostTensor, Diagnostic> {
        match self {
            Source::Array(t) => Ok(t),
            Source::Windows(ref w) => {
                let too_large = |e| Diagnostic::error("E0711", format!("`{name}`: {e}"));
                let mut t = HostTensor::zeros(DType::U8, &[w.rows(), w.window()]).map_err(too_large)?;
                self.gather(0..w.rows(), t.bytes_mut());
                Ok(t)
            }
            Source::Fed => Err(Diagnostic::bug("a fed source has no array")),
        }
    }
}

/// Opens a field's source and applies its indices. Types are not checked yet.
pub(super) fn open(
    field: &FieldSpec,
    spec: &SourceSpec,
    base_dir: &Path,
    options: &LoadOptions,
) -> Result<Source, Diagnostic> {
    let source = open_whole(field, &spec.kind, base_dir, options)?;
    let whole = field.shared && matches!(source, Source::Windows(_));
    if spec.index.is_empty() && !whole {
        return Ok(source);
    }
    let name = describe(&spec.kind);
    let mut array = source.into_array(&name)?;
    for &i in &spec.index {
        array = indexed(&array, i, &name)?;
    }
    Ok(Source::Array(array))
}

fn open_whole(
    field: &FieldSpec,
    kind: &SourceKind,
    base_dir: &Path,
    options: &LoadOptions,
) -> Result<Source, Diagnostic> {
    let cache = &options.cache;
    let at = |path: &PathBuf| base_dir.join(path);
    let tensor = match kind {
        SourceKind::Idx { path } => files::idx::read(&at(path), cache)?,
        SourceKind::Npy { path } => files::npy::read(&at(path), cache)?,
        SourceKind::Npz { path, key } => Npz::open(&at(path), cache)?.tensor(key.as_deref())?,
        SourceKind::Safetensors { path, key } => {
            SafetensorsFile::open(&at(path), cache)?.tensor(key.as_deref())?
        }
        SourceKind::Csv { path, columns } => {
            let t = files::csv::read(&at(path), cache, columns, field.dtype)?;
            let axes = field.dims.len() + usize::from(!field.shared);
            match *t.shape() {
                // One column may be a scalar per sample.
                [rows, 1] if axes == 1 => t.reshape(&[rows]).unwrap_or(t),
                _ => t,
            }
        }
        SourceKind::Bytes { paths, window, stride } => {
            let mut all = vec![];
            for path in paths {
                all.extend(files::expand(&at(path))?);
            }
            return open_bytes(&field.name, &all, *window, *stride, cache);
        }
        SourceKind::Random(spec) => {
            let shape = random_shape(field, spec.rows)?;
            random::tensor(spec, &field.name, field.dtype, &shape, options.seed)?
        }
        SourceKind::Images { .. } | SourceKind::FolderLabels { .. } => {
            return Err(Diagnostic::error("E0715", format!("the source `{}` is not built yet", kind.name()))
                .hint("save the images as one array and read it with npy(..)"));
        }
    };
    Ok(Source::Array(tensor))
}

fn open_bytes(
    field: &str,
    paths: &[PathBuf],
    window: Option<u64>,
    stride: Option<u64>,
    cache: &Cache,
) -> Result<Source, Diagnostic> {
    let mut all = paths.iter().map(|p| files::read_bytes(p, cache)).collect::<Result<Vec<_>, _>>()?;
    let positive = |n: u64, what: &str| match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(Diagnostic::error("E0716", format!("field `{field}`: the {what} of bytes(..) is {n}"))
            .hint(format!("give a {what} of at least 1"))),
    };
    if let Some(window) = window {
        let stride = positive(stride.unwrap_or(window), "stride")?;
        return Ok(Source::Windows(Windows::new(all, positive(window, "window")?, stride)));
    }
    let bytes = match all.len() {
        1 => all.remove(0),
        _ => join(&all).ok_or_else(|| {
            Diagnostic::error("E0711", format!("the files of field `{field}` do not fit into memory"))
        })?,
    };
    let tensor = HostTensor::from_bytes(DType::U8, &[bytes.len()], bytes);
    tensor.map(Source::Array).map_err(|e| Diagnostic::bug(e.to_string()))
}

fn join(parts: &[Bytes]) -> Option<Bytes> {
    let mut all = AlignedBuf::zeroed(parts.iter().map(|p| p.len()).sum())?;
    let mut at = 0;
    for p in parts {
        all[at..at + p.len()].copy_from_slice(p);
        at += p.len();
    }
    Some(all.into())
}

fn random_shape(field: &FieldSpec, rows: u64) -> Result<Vec<usize>, Diagnostic> {
    let rows = if field.shared { None } else { Some(rows as usize) };
    let dims = field.dims.iter().map(|d| match d {
        FieldDim::Known(n) => Ok(*n as usize),
        FieldDim::Named(name) => {
            let title = format!("field `{}`: random(..) cannot tell the size of `{name}`", field.name);
            Err(Diagnostic::error("E0716", title).hint("write the dim as a number"))
        }
    });
    rows.into_iter().map(Ok).chain(dims).collect()
}

fn indexed(array: &HostTensor, i: i64, name: &str) -> Result<HostTensor, Diagnostic> {
    let n = array.shape().first().copied().unwrap_or(0);
    let at = if i < 0 { (n as i64).checked_add(i) } else { Some(i) };
    let part = at.and_then(|at| usize::try_from(at).ok()).and_then(|at| array.index(at));
    part.ok_or_else(|| {
        let shape = array.shape();
        Diagnostic::error(
            "E0714",
            format!("index {i} is out of range: `{name}` has the shape {shape:?} there"),
        )
    })
}

/// A source's file (and key) as messages name it.
pub(super) fn describe(kind: &SourceKind) -> String {
    let with_key = |path: &PathBuf, key: &Option<String>| match key {
        Some(key) => format!("{}:{key}", path.display()),
        None => path.display().to_string(),
    };
    match kind {
        SourceKind::Idx { path } | SourceKind::Npy { path } | SourceKind::Csv { path, .. } => {
            path.display().to_string()
        }
        SourceKind::Npz { path, key } | SourceKind::Safetensors { path, key } => with_key(path, key),
        SourceKind::Bytes { paths, .. } => match paths.as_slice() {
            [path] => path.display().to_string(),
            paths => format!("bytes(..) of {} files", paths.len()),
        },
        SourceKind::Images { folder, .. } | SourceKind::FolderLabels { folder } => {
            folder.display().to_string()
        }
        SourceKind::Random(_) => "random(..)".to_string(),
    }
}
