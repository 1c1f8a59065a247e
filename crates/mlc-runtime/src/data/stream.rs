//! A pipeline over datasets: which samples make up which batch.
//!
//! `.skip .take .shuffle .batch`, in this order. Batch `i` of an epoch takes samples `i * size ..` of
//! the epoch's order; the last one may be smaller. Zipped parts each cut batches of their own size, and
//! an epoch ends with the part that has the fewest. Which samples a batch holds depends on its
//! [`Position`] and the seeds alone.

use std::sync::Arc;

use mlc_diag::Diagnostic;
use mlc_ir::DType;
use mlc_ir::program::PipelineSpec;
use serde::{Deserialize, Serialize};

use super::batch::{BatchField, Buffers, Layout};
use super::{Dataset, order};

/// The place of a batch in a run: all that a resumed run needs to know about the data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub epoch: u64,
    /// The number of a batch in its epoch. As many as an epoch has means: at its end.
    pub batch: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct StreamOptions {
    /// The run's seed, for a `.shuffle()` without one of its own.
    pub seed: u64,
    /// `false` drops every `.shuffle`.
    pub shuffle: bool,
}

/// The batches of one or several datasets.
#[derive(Debug)]
pub struct Stream {
    parts: Vec<Part>,
    layout: Arc<Layout>,
    batches: u64,
}

#[derive(Debug)]
struct Part {
    dataset: Arc<Dataset>,
    /// The samples `start .. start + len`; no samples at all where all fields are shared.
    start: usize,
    len: usize,
    batch: usize,
    batches: u64,
    shuffle: Option<u64>,
    /// The order of the epoch that was asked for last.
    order: Vec<u32>,
    order_of: Option<u64>,
}

impl Default for StreamOptions {
    fn default() -> Self {
        StreamOptions { seed: 0, shuffle: true }
    }
}

impl Stream {
    /// The batches of the datasets under their pipelines, zipped if there are several.
    pub fn new(
        parts: Vec<(Arc<Dataset>, PipelineSpec)>,
        options: StreamOptions,
    ) -> Result<Stream, Diagnostic> {
        let dims = parts.iter().map(|(_, p)| p.batch_dim.clone()).collect();
        let parts =
            parts.into_iter().map(|(d, p)| Part::new(d, &p, options)).collect::<Result<Vec<_>, _>>()?;
        let Some(batches) = parts.iter().map(|p| p.batches).min() else {
            return Err(Diagnostic::bug("a stream without a dataset"));
        };
        let mut fields: Vec<BatchField> = vec![];
        for (part, p) in parts.iter().enumerate() {
            for (i, f) in p.dataset.fields().iter().enumerate().filter(|(_, f)| !f.shared) {
                if let Some(other) = fields.iter().find(|o| o.name == f.name) {
                    return Err(named_twice(&parts[other.part].dataset, &p.dataset, other.field, i));
                }
                let size = f.shape.iter().product::<usize>() * f.dtype.size();
                let (name, dtype, sample) = (f.name.clone(), f.dtype, f.shape.clone());
                fields.push(BatchField { name, dtype, part, field: i, size, sample });
            }
        }
        Ok(Stream { parts, layout: Arc::new(Layout { dims, fields }), batches })
    }

    /// How many batches an epoch has: at least one.
    pub fn batches_per_epoch(&self) -> u64 {
        self.batches
    }

    /// Samples of the first part that an epoch shows; 0 where no field is sampled.
    pub fn rows_per_epoch(&self) -> u64 {
        self.parts.first().map_or(0, |p| (p.batch as u64).saturating_mul(self.batches).min(p.len as u64))
    }

    pub fn datasets(&self) -> impl Iterator<Item = &Arc<Dataset>> {
        self.parts.iter().map(|p| &p.dataset)
    }

    /// The fields of a batch with their shapes. `batch` is less than [`Stream::batches_per_epoch`].
    pub fn shapes(&self, batch: u64) -> impl Iterator<Item = (&str, DType, Vec<usize>)> {
        self.layout.fields.iter().map(move |f| {
            let rows = self.parts[f.part].range(batch).len();
            (f.name.as_str(), f.dtype, [rows].into_iter().chain(f.sample.iter().copied()).collect())
        })
    }

    pub(super) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Gathers a batch. `at.batch` is less than [`Stream::batches_per_epoch`].
    pub(super) fn fill(&mut self, at: Position, buffers: &mut Buffers) -> Result<(), Diagnostic> {
        let layout = self.layout.clone();
        buffers.rows.clear();
        for part in &mut self.parts {
            part.prepare(at.epoch);
            buffers.rows.push(part.range(at.batch).len());
        }
        buffers.fields.resize_with(layout.fields.len(), Default::default);
        for (field, (buf, shape)) in layout.fields.iter().zip(&mut buffers.fields) {
            let part = &self.parts[field.part];
            let range = part.range(at.batch);
            shape.clear();
            shape.push(range.len());
            shape.extend_from_slice(&field.sample);
            let size = range.len().checked_mul(field.size);
            if !size.is_some_and(|size| buf.resize(size)) {
                let title = format!("no memory for a batch of {} samples of `{}`", range.len(), field.name);
                return Err(Diagnostic::error("E0711", title).hint("make the batches smaller"));
            }
            let source = &part.dataset.fields()[field.field].source;
            match part.shuffle {
                None => source.gather_range(part.start + range.start, range.len(), buf),
                Some(_) => {
                    source.gather(part.order[range].iter().map(|&i| part.start + i as usize), buf);
                }
            }
        }
        Ok(())
    }
}

impl Part {
    fn new(dataset: Arc<Dataset>, spec: &PipelineSpec, options: StreamOptions) -> Result<Part, Diagnostic> {
        let name = dataset.name();
        let fed: Vec<String> = dataset.fed().map(|f| format!("`{}`", f.name)).collect();
        if !fed.is_empty() {
            return Err(Diagnostic::error(
                "E0717",
                format!("the caller must feed {} of the dataset `{name}`", fed.join(", ")),
            )
            .label(spec.span, "a run by itself has no values for it")
            .hint("give the field a source, or its values: `--input NAME=FILE.npy` for the whole data, `Session::train_step` for a batch"));
        }
        if spec.batch == Some(0) {
            return Err(Diagnostic::error("E0716", "a batch of 0 samples").label(spec.span, "here"));
        }
        let Some(rows) = dataset.rows() else {
            let (start, len, batch, batches) = (0, 0, 0, 1);
            let (shuffle, order, order_of) = (None, vec![], None);
            return Ok(Part { dataset, start, len, batch, batches, shuffle, order, order_of });
        };
        let limit = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let start = limit(spec.skip).min(rows);
        let len = spec.take.map_or(rows - start, |n| limit(n).min(rows - start));
        let batch = spec.batch.map_or(len, limit);
        let whole = len.checked_div(batch).unwrap_or(0);
        let rest = usize::from(!spec.drop_last && whole.checked_mul(batch) != Some(len));
        if whole + rest == 0 {
            return Err(no_batch(&dataset, spec, rows, len));
        }
        let seed = |s: mlc_ir::program::ShuffleSpec| s.seed.unwrap_or(options.seed);
        let shuffle = spec.shuffle.filter(|_| options.shuffle).map(seed);
        if shuffle.is_some() && u32::try_from(len).is_err() {
            let title = format!("`{name}` has {len} samples, more than can be shuffled");
            return Err(Diagnostic::error("E0716", title)
                .label(spec.span, "here")
                .hint("take at most 4294967295 of them, or make the stride larger"));
        }
        let batches = (whole + rest) as u64;
        Ok(Part { dataset, start, len, batch, batches, shuffle, order: vec![], order_of: None })
    }

    /// Makes the epoch's order, if it is another one than last time.
    fn prepare(&mut self, epoch: u64) {
        if let Some(seed) = self.shuffle
            && self.order_of != Some(epoch)
        {
            order::shuffled(seed, epoch, self.len as u32, &mut self.order);
            self.order_of = Some(epoch);
        }
    }

    /// The places of a batch's samples in the epoch's order.
    fn range(&self, batch: u64) -> std::ops::Range<usize> {
        let start = (batch as usize).saturating_mul(self.batch).min(self.len);
        start..start.saturating_add(self.batch).min(self.len)
    }
}

fn no_batch(dataset: &Dataset, spec: &PipelineSpec, rows: usize, len: usize) -> Diagnostic {
    let name = dataset.name();
    let title = match len {
        0 => format!("no sample of `{name}` is left: it has {rows}"),
        _ => format!("`{name}` gives no batch: {len} samples are fewer than a batch"),
    };
    let mut d = Diagnostic::error("E0713", title).label(spec.span, "after this");
    if let (Some(batch), true) = (spec.batch, len > 0) {
        d = d.note(format!("batches of {batch} without a partial last one (drop_last)"));
    }
    d.hint("skip fewer samples, or make the batch smaller")
}

fn named_twice(a: &Dataset, b: &Dataset, field_a: usize, field_b: usize) -> Diagnostic {
    let (fa, fb) = (&a.fields()[field_a], &b.fields()[field_b]);
    Diagnostic::error("E0716", format!("both `{}` and `{}` have a field `{}`", a.name(), b.name(), fb.name))
        .label(fb.span, "a second time here")
        .label(fa.span, "first here")
        .hint("losses bind to fields by name; rename one of them")
}
