//! Batches, and the memory that they share with those before them.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use mlc_ir::DType;

use super::Position;
use crate::host::{AlignedBuf, TensorView};

/// The values of one step: of each sampled field, `[rows, ..]`. When it is dropped its memory goes back
/// to the loader it came from.
pub struct Batch {
    position: Position,
    buffers: Buffers,
    layout: Arc<Layout>,
    pool: Option<SyncSender<Buffers>>,
}

/// What all batches of a stream have in common.
#[derive(Debug)]
pub(super) struct Layout {
    /// The name of each part's batch dim.
    pub dims: Vec<String>,
    pub fields: Vec<BatchField>,
}

#[derive(Debug)]
pub(super) struct BatchField {
    pub name: String,
    pub dtype: DType,
    /// Which part it is of, and which field of that part's dataset.
    pub part: usize,
    pub field: usize,
    /// Bytes of a sample.
    pub size: usize,
    pub sample: Vec<usize>,
}

/// The memory of a batch.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub rows: Vec<usize>,
    pub fields: Vec<(AlignedBuf, Vec<usize>)>,
}

impl Buffers {
    /// As much memory again; what of it there is none for is asked for when it is needed.
    pub fn twin(&self) -> Buffers {
        let field = |(buf, shape): &(AlignedBuf, Vec<usize>)| {
            let mut twin = AlignedBuf::default();
            let _ = twin.resize(buf.len());
            (twin, shape.clone())
        };
        Buffers { rows: self.rows.clone(), fields: self.fields.iter().map(field).collect() }
    }
}

impl Batch {
    pub(super) fn new(
        position: Position,
        buffers: Buffers,
        layout: Arc<Layout>,
        pool: Option<SyncSender<Buffers>>,
    ) -> Batch {
        Batch { position, buffers, layout, pool }
    }

    /// Which batch this is: its epoch and its number there.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Samples of the first part; 0 where no field is sampled.
    pub fn rows(&self) -> usize {
        self.buffers.rows.first().copied().unwrap_or(0)
    }

    /// Each part's batch dim with the number of its samples here.
    pub fn dims(&self) -> impl Iterator<Item = (&str, usize)> {
        self.layout.dims.iter().map(String::as_str).zip(self.buffers.rows.iter().copied())
    }

    /// The sampled fields in the order of declaration.
    pub fn fields(&self) -> impl Iterator<Item = (&str, TensorView<'_>)> {
        self.layout
            .fields
            .iter()
            .zip(&self.buffers.fields)
            .map(|(f, (bytes, shape))| (f.name.as_str(), TensorView { dtype: f.dtype, shape, bytes }))
    }

    pub fn get(&self, name: &str) -> Option<TensorView<'_>> {
        self.fields().find(|(n, _)| *n == name).map(|(_, view)| view)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            // A pool that is full or gone lets the memory go.
            let _ = pool.try_send(std::mem::take(&mut self.buffers));
        }
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("position", &self.position).field("rows", &self.buffers.rows).finish()
    }
}
