//! Batches for entries: the loader, the shared arrays, and one bound call for each batch shape.

use std::sync::Arc;

use mlc_diag::Diagnostics;
use mlc_ir::DType;
use mlc_ir::program::DataSpec;
use rustc_hash::FxHashMap;

use super::engine::{Engine, Fed};
use crate::HostTensor;
use crate::data::{Batch, Dataset, LoadOptions, Loader, LoaderOptions, Position, Stream, StreamOptions};

/// Data opened and checked, before an order is chosen.
pub struct Data {
    datasets: Vec<Arc<Dataset>>,
    spec: DataSpec,
    shared: Vec<(String, HostTensor)>,
}

impl Data {
    /// # Errors
    /// Where a file cannot be read or does not hold what the program declares.
    pub fn open(spec: &DataSpec, options: &LoadOptions) -> Result<Data, Diagnostics> {
        let datasets: Vec<Arc<Dataset>> = spec
            .parts
            .iter()
            .map(|part| Dataset::load(&part.dataset, options).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let shared =
            datasets.iter().flat_map(|d| d.shared().map(|(n, t)| (n.to_string(), t.clone()))).collect();
        Ok(Data { datasets, spec: spec.clone(), shared })
    }

    /// # Errors
    /// Where the pipeline does not fit the data.
    pub fn stream(&self, options: StreamOptions) -> Result<Stream, Diagnostics> {
        let parts = self.datasets.iter().cloned().zip(self.spec.parts.iter().map(|p| p.pipeline.clone()));
        Ok(Stream::new(parts.collect(), options)?)
    }
}

/// The inputs that an epoch feeds, each combination of shapes once: the full batch and, where there is one, the
/// smaller last one.
///
/// # Errors
/// As [`Data::open`] and [`Data::stream`].
pub fn epoch_inputs(spec: &DataSpec, options: &LoadOptions) -> Result<Vec<Vec<Fed>>, Diagnostics> {
    let data = Data::open(spec, options)?;
    let stream = data.stream(StreamOptions { seed: options.seed, shuffle: false })?;
    // Parts end together, with the shortest: only the last batch can differ.
    let mut batches = vec![0, stream.batches_per_epoch().saturating_sub(1)];
    batches.dedup();
    let shared = data.shared.iter().map(|(n, t)| fed(n, t.dtype(), t.shape()));
    let shared: Vec<Fed> = shared.collect();
    let fields = |batch| stream.shapes(batch).map(|(name, dtype, shape)| fed(name, dtype, &shape));
    let mut all: Vec<Vec<Fed>> =
        batches.into_iter().map(|b| fields(b).chain(shared.iter().cloned()).collect()).collect();
    all.dedup();
    Ok(all)
}

fn fed(name: &str, dtype: DType, shape: &[usize]) -> Fed {
    Fed { name: name.into(), dtype, shape: shape.to_vec() }
}

/// Where a step's inputs come from. Without data there is one empty record a step, and no epochs end.
pub struct Feed<'d, C> {
    loader: Option<Loader>,
    data: Option<&'d Data>,
    calls: FxHashMap<(String, Vec<usize>), C>,
    none_at: Position,
}

impl<'d, C: Clone> Feed<'d, C> {
    /// # Errors
    /// Where the pipeline or the start position does not fit the data.
    pub fn new(
        data: Option<&'d Data>,
        stream: StreamOptions,
        start: Position,
        prefetch: usize,
    ) -> Result<Self, Diagnostics> {
        let loader = match data {
            None => None,
            Some(data) => {
                let options = LoaderOptions { prefetch, start, epochs: None };
                Some(Loader::new(data.stream(stream)?, options)?)
            }
        };
        Ok(Feed { loader, data, calls: FxHashMap::default(), none_at: start })
    }

    pub fn batches_per_epoch(&self) -> Option<u64> {
        self.loader.as_ref().map(Loader::batches_per_epoch)
    }

    /// Of the batch that comes next.
    pub fn position(&self) -> Position {
        self.loader.as_ref().map_or(self.none_at, Loader::position)
    }

    /// The next batch; `Ok(None)` at the end of an epoch. Without data: a batch that is `None` inside.
    ///
    /// # Errors
    /// Where the data cannot be read.
    pub fn next(&mut self) -> Result<Option<Option<Batch>>, Diagnostics> {
        match &mut self.loader {
            None => {
                self.none_at.batch += 1;
                Ok(Some(None))
            }
            Some(loader) => Ok(loader.next_batch()?.map(Some)),
        }
    }

    /// Runs `entry` on a batch, compiling it the first time a shape occurs.
    ///
    /// # Errors
    /// The engine's.
    pub fn run<E: Engine<Call = C>>(
        &mut self,
        engine: &mut E,
        entry: &str,
        batch: Option<&Batch>,
    ) -> Result<C, Diagnostics> {
        let shared = self.data.map_or(&[][..], |d| &d.shared);
        let fields = || batch.into_iter().flat_map(Batch::fields);
        let key = (entry.to_string(), batch.map_or(vec![], |b| b.dims().map(|d| d.1).collect()));
        let call = match self.calls.get(&key) {
            Some(call) => call.clone(),
            None => {
                let fields = fields().map(|(n, t)| fed(n, t.dtype, t.shape));
                let shared = shared.iter().map(|(n, t)| fed(n, t.dtype(), t.shape()));
                let call = engine.bind(entry, &fields.chain(shared).collect::<Vec<_>>())?;
                self.calls.insert(key, call.clone());
                call
            }
        };
        let bytes: smallvec::SmallVec<[&[u8]; 8]> =
            fields().map(|(_, t)| t.bytes).chain(shared.iter().map(|(_, t)| t.bytes())).collect();
        engine.run(&call, &bytes)?;
        Ok(call)
    }
}
