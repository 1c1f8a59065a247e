//! A dataset with its files open and checked.

use std::collections::BTreeMap;

use mlc_diag::{Diagnostic, Diagnostics, Span};
use mlc_ir::DType;
use mlc_ir::program::{DatasetSpec, FieldSpec};

use super::check::{self, Bindings};
use super::source::{self, Source};
use crate::files::Cache;
use crate::host::HostTensor;

/// What loading needs beside the specification.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    pub cache: Cache,
    /// The run's seed, for `random(..)` without one of its own.
    pub seed: u64,
    /// Whole arrays for fields without a source, by name. Fields not among them are fed step by step.
    pub fed: BTreeMap<String, HostTensor>,
}

/// Named fields. All sampled ones with a source have the same number of samples.
#[derive(Debug)]
pub struct Dataset {
    name: String,
    span: Span,
    fields: Vec<Field>,
    rows: Option<usize>,
    bindings: BTreeMap<String, usize>,
}

#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub dtype: DType,
    /// Of one sample; of the whole array if shared. Empty for a field that the caller feeds.
    pub shape: Vec<usize>,
    pub shared: bool,
    pub source: Source,
    pub span: Span,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { cache: Cache::user(), seed: 0, fed: BTreeMap::new() }
    }
}

impl Dataset {
    /// Opens every source (each on a thread, for unpacking takes time) and checks dtypes, dims and
    /// lengths. Reports all problems at once.
    pub fn load(spec: &DatasetSpec, options: &LoadOptions) -> Result<Dataset, Diagnostics> {
        let mut problems = Diagnostics::new();
        let mut bindings = Bindings::default();
        let mut fields = vec![];
        let mut lengths = vec![];
        for (field, source) in spec.fields.iter().zip(open_all(spec, options)) {
            let source = match source {
                Ok(source) => source,
                Err(d) => {
                    problems.push(located(d, field));
                    continue;
                }
            };
            let shape = match source {
                Source::Fed => Some(vec![]),
                _ => check::field(field, &source, &mut bindings, &mut problems),
            };
            let Some(shape) = shape else { continue };
            if let (false, Some(rows)) = (field.shared, source.rows()) {
                lengths.push((field, rows));
            }
            let (name, dtype, shared, span) = (field.name.clone(), field.dtype, field.shared, field.span);
            fields.push(Field { name, dtype, shape, shared, source, span });
        }
        let rows = check::lengths(&lengths, &mut problems);
        if problems.has_errors() {
            return Err(problems);
        }
        if rows == Some(0) {
            return Err(empty(spec, &lengths).into());
        }
        let bindings = bindings.sizes.into_iter().map(|(name, (n, _))| (name, n)).collect();
        Ok(Dataset { name: spec.name.clone(), span: spec.span, fields, rows, bindings })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn span(&self) -> Span {
        self.span
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The number of samples; `None` where no sampled field has a source.
    pub fn rows(&self) -> Option<usize> {
        self.rows
    }

    /// The sizes that the files gave to named dims.
    pub fn bindings(&self) -> &BTreeMap<String, usize> {
        &self.bindings
    }

    /// The whole arrays of shared fields.
    pub fn shared(&self) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.fields.iter().filter(|f| f.shared).filter_map(|f| match &f.source {
            Source::Array(t) => Some((f.name.as_str(), t)),
            _ => None,
        })
    }

    /// Fields that the caller gives at each step.
    pub fn fed(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|f| matches!(f.source, Source::Fed))
    }
}

fn open_all(spec: &DatasetSpec, options: &LoadOptions) -> Vec<Result<Source, Diagnostic>> {
    let open = |field: &FieldSpec| match &field.source {
        Some(s) => source::open(field, s, &spec.base_dir, options),
        None => Ok(options.fed.get(&field.name).map_or(Source::Fed, |t| Source::Array(t.clone()))),
    };
    if spec.fields.iter().filter(|f| f.source.is_some()).count() < 2 {
        return spec.fields.iter().map(open).collect();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = spec
            .fields
            .iter()
            .map(|f| std::thread::Builder::new().spawn_scoped(scope, || open(f)).map_err(|_| f))
            .collect();
        let join = |t| match t {
            Ok(thread) => std::thread::ScopedJoinHandle::join(thread)
                .unwrap_or_else(|_| Err(Diagnostic::bug("reading a data file panicked"))),
            // The system gives no more threads.
            Err(field) => open(field),
        };
        threads.into_iter().map(join).collect()
    })
}

fn located(d: Diagnostic, field: &FieldSpec) -> Diagnostic {
    let span = field.source.as_ref().map_or(Span::NONE, |s| s.span);
    let span = if span.is_none() { field.span } else { span };
    if span.is_none() { d } else { d.label(span, format!("the source of field `{}`", field.name)) }
}

fn empty(spec: &DatasetSpec, lengths: &[(&FieldSpec, usize)]) -> Diagnostic {
    let mut d = Diagnostic::error("E0713", format!("the dataset `{}` is empty", spec.name));
    for (field, _) in lengths {
        d = d.label(field.span, format!("`{}` has no samples", check::origin(field)));
    }
    d.hint("give files with at least one sample")
}
