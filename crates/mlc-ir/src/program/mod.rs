//! What a whole program says beyond its graphs: its data now, its entries and training loop beside it.
//!
//! These types are plain values. The front end produces them, the runtime reads them; neither
//! depends on the other.

pub mod data;

pub use data::{
    DataPart, DataSpec, DatasetSpec, FieldDim, FieldSpec, PipelineSpec, RandomSpec, ShuffleSpec, SourceKind,
    SourceSpec,
};
