//! Datasets and their pipelines as written: what `dataset` items and `data = ..` bindings mean.
//!
//! ```mlg
//! dataset Digits(split: str) {
//!     image: u8[28, 28] = idx("mnist/{split}-images-idx3-ubyte.gz")
//!     label: u8         = idx("mnist/{split}-labels-idx1-ubyte.gz")
//! }
//! train { data = Digits("train").shuffle(seed: 0).batch(64) }
//! ```
//! becomes a [`DataSpec`] of one [`DataPart`]: the [`DatasetSpec`] with two fields, strings already
//! interpolated, and a [`PipelineSpec`] with a shuffle and a batch. No file has been touched: the
//! runtime opens the files and checks them against the declared types.

use std::path::{Path, PathBuf};

use mlc_diag::Span;
use serde::{Deserialize, Serialize};

use crate::DType;

/// All data of a `train` block or of its `validate`: one dataset, or several under `zip`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSpec {
    /// Each part yields a batch of its own at every step; an epoch ends with the shortest.
    pub parts: Vec<DataPart>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataPart {
    pub dataset: DatasetSpec,
    pub pipeline: PipelineSpec,
}

/// One `dataset` item, applied to its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetSpec {
    pub name: String,
    /// In the order of declaration; names are distinct.
    pub fields: Vec<FieldSpec>,
    /// Relative paths of sources start here: the folder of the file that holds the item.
    pub base_dir: PathBuf,
    pub span: Span,
}

/// `image: u8[28, 28] = idx(..)`: one sample's value, or, for `shared`, the whole array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldSpec {
    pub name: String,
    pub dtype: DType,
    /// Of one sample, without the batch; of the whole array for a shared field.
    pub dims: Vec<FieldDim>,
    pub shared: bool,
    /// `None`: the caller feeds the field.
    pub source: Option<SourceSpec>,
    pub span: Span,
}

/// A declared dim: a number, or a name that the file's size is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FieldDim {
    Known(u64),
    Named(String),
}

/// A source call, with the constant indices written after it: `npy("edges.npy")[0]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceSpec {
    pub kind: SourceKind,
    /// Each takes away the first axis that is left; a negative one counts from the end.
    pub index: Vec<i64>,
    pub span: Span,
}

/// Where a field's values come from. Paths are as written; relative ones start at
/// [`DatasetSpec::base_dir`]. `.gz` files are read through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SourceKind {
    Idx {
        path: PathBuf,
    },
    Npy {
        path: PathBuf,
    },
    /// `key` may be left out where the archive holds one array only.
    Npz {
        path: PathBuf,
        key: Option<String>,
    },
    Safetensors {
        path: PathBuf,
        key: Option<String>,
    },
    /// Columns by the names in the header line; none named means all of them. One column is a scalar
    /// per sample (or `[1]`), `k` columns are `[k]`.
    Csv {
        path: PathBuf,
        columns: Vec<String>,
    },
    /// Windows of `window` bytes that start every `stride` bytes (default: `window`) and never cross
    /// from one file into the next. Without a window: the files' bytes one after another.
    Bytes {
        paths: Vec<PathBuf>,
        window: Option<u64>,
        stride: Option<u64>,
    },
    Random(RandomSpec),
    /// One image a file, resized to `size` x `size`.
    Images {
        folder: PathBuf,
        size: u64,
    },
    /// The index of each image's folder among its siblings.
    FolderLabels {
        folder: PathBuf,
    },
}

/// `random(rows: 1024)`: the same numbers on every machine. Floats are N(0, 1), or uniform in
/// `[low, high)` where a bound is given (the other is then 0 or 1); integers uniform in `[low, high)`
/// (default 0 and 2); bool a fair coin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RandomSpec {
    /// Samples; not used by shared fields, whose dims say all.
    pub rows: u64,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// `None`: the run's seed.
    pub seed: Option<u64>,
}

/// `.skip(n).take(n).shuffle(seed: s).batch(n, drop_last: b, dim: name)`, each at most once and in
/// this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineSpec {
    pub skip: u64,
    pub take: Option<u64>,
    pub shuffle: Option<ShuffleSpec>,
    /// `None`: all samples at once; one step is an epoch.
    pub batch: Option<u64>,
    pub drop_last: bool,
    /// The name of the batch dim: `batch` unless `dim:` says otherwise.
    pub batch_dim: String,
    pub span: Span,
}

/// A new order each epoch, from this seed (else the run's) and the epoch's number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShuffleSpec {
    pub seed: Option<u64>,
}

impl DataSpec {
    /// One dataset without `zip`.
    pub fn single(dataset: DatasetSpec, pipeline: PipelineSpec) -> DataSpec {
        DataSpec { parts: vec![DataPart { dataset, pipeline }] }
    }
}

impl Default for PipelineSpec {
    fn default() -> Self {
        PipelineSpec {
            skip: 0,
            take: None,
            shuffle: None,
            batch: None,
            drop_last: false,
            batch_dim: "batch".to_string(),
            span: Span::NONE,
        }
    }
}

impl SourceSpec {
    pub fn new(kind: SourceKind) -> SourceSpec {
        SourceSpec { kind, index: vec![], span: Span::NONE }
    }
}

impl SourceKind {
    /// The files and folders that the source reads, as written.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            SourceKind::Idx { path }
            | SourceKind::Npy { path }
            | SourceKind::Npz { path, .. }
            | SourceKind::Safetensors { path, .. }
            | SourceKind::Csv { path, .. } => vec![path],
            SourceKind::Bytes { paths, .. } => paths.iter().map(PathBuf::as_path).collect(),
            SourceKind::Images { folder, .. } | SourceKind::FolderLabels { folder } => vec![folder],
            SourceKind::Random(_) => vec![],
        }
    }

    /// The name of the source's constructor in the language.
    pub fn name(&self) -> &'static str {
        match self {
            SourceKind::Idx { .. } => "idx",
            SourceKind::Npy { .. } => "npy",
            SourceKind::Npz { .. } => "npz",
            SourceKind::Safetensors { .. } => "safetensors",
            SourceKind::Csv { .. } => "csv",
            SourceKind::Bytes { .. } => "bytes",
            SourceKind::Random(_) => "random",
            SourceKind::Images { .. } => "images",
            SourceKind::FolderLabels { .. } => "folder_labels",
        }
    }
}
