//! Batches for entries: the loader, the shared arrays, and one bound call for each batch shape.

use std::sync::Arc;

use mlc_diag::Diagnostics;
use mlc_ir::DType;
use mlc_ir::program::DataSpec;
use smallvec::SmallVec;

use super::engine::{Engine, Fed, Scalar};
use super::sums::Sums;
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
/// As `Data::open` and `Data::stream`.
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

/// An entry bound to the shapes of its inputs.
pub struct Bound<C> {
    pub call: C,
    /// Its scalar results.
    pub scalars: Vec<Scalar>,
    /// Where their sums are.
    pub places: Vec<usize>,
    /// The entry, and the sizes of the batch's dims.
    entry: usize,
    dims: SmallVec<[usize; 4]>,
}

/// Where a step's inputs come from. Without data there is one empty record a step, and no epochs end.
pub struct Feed<'d, C> {
    loader: Option<Loader>,
    data: Option<&'d Data>,
    bound: Vec<Bound<C>>,
    none_at: Position,
}

/// How many batches are prepared ahead, and how many are in use at once.
#[derive(Debug, Clone, Copy)]
pub struct Ahead {
    pub prefetch: usize,
    pub held: u64,
}

impl<'d, C> Feed<'d, C> {
    /// # Errors
    /// Where the pipeline or the start position does not fit the data.
    pub fn new(
        data: Option<&'d Data>,
        stream: StreamOptions,
        start: Position,
        Ahead { prefetch, held }: Ahead,
    ) -> Result<Self, Diagnostics> {
        let loader = match data {
            None => None,
            Some(data) => {
                let options = LoaderOptions { prefetch, start, epochs: None, held };
                Some(Loader::new(data.stream(stream)?, options)?)
            }
        };
        Ok(Feed { loader, data, bound: vec![], none_at: start })
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

    /// Runs an entry, which its caller numbers, on a batch. It is compiled the first time a shape occurs;
    /// after that nothing is allocated.
    ///
    /// # Errors
    /// The engine's.
    pub fn run<E: Engine<Call = C>>(
        &mut self,
        engine: &mut E,
        (entry, name): (usize, &str),
        batch: Option<&Batch>,
        sums: &mut Sums,
    ) -> Result<&Bound<C>, Diagnostics> {
        let dims = || batch.into_iter().flat_map(Batch::dims).map(|d| d.1);
        let known = self.bound.iter().position(|b| b.entry == entry && b.dims.iter().copied().eq(dims()));
        let at = match known {
            Some(at) => at,
            None => {
                let call = engine.bind(name, &self.fed(batch))?;
                let scalars = engine.scalars(&call);
                let places = sums.places(&scalars);
                self.bound.push(Bound { call, scalars, places, entry, dims: dims().collect() });
                self.bound.len() - 1
            }
        };
        let shared = self.data.map_or(&[][..], |d| &d.shared);
        let fields = batch.into_iter().flat_map(Batch::fields);
        let bytes: SmallVec<[&[u8]; 8]> =
            fields.map(|(_, t)| t.bytes).chain(shared.iter().map(|(_, t)| t.bytes())).collect();
        engine.run(&self.bound[at].call, &bytes)?;
        Ok(&self.bound[at])
    }

    /// The types of what an entry is given with a batch.
    fn fed(&self, batch: Option<&Batch>) -> Vec<Fed> {
        let shared = self.data.map_or(&[][..], |d| &d.shared);
        let fields = batch.into_iter().flat_map(Batch::fields);
        let fields = fields.map(|(n, t)| fed(n, t.dtype, t.shape));
        fields.chain(shared.iter().map(|(n, t)| fed(n, t.dtype(), t.shape()))).collect()
    }
}
