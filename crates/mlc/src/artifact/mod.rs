//! Artifacts: a compiled program in a file, which runs without being compiled.
//!
//! ```text
//! Program --ArtifactBuilder: bind, export--> header | manifest | object | weights --Program::load--> Program
//! ```
//! An artifact has entries for a list of bindings: their plans, the machine code of their kernels as a relocatable
//! object, the state layout, what training needs (data sources, losses, rules), the source texts for messages, and,
//! if wanted, weights. A program that was loaded has no graphs: what asks for one is an error, and so is any size
//! that is not in the list.
//!
//! Invariants: reading never goes beyond the file and never trusts a length; nothing of a file is used before its
//! checksum was found right, but magic, version and length. The code in it is run as it stands: an artifact must be
//! trusted as an executable must.
//!
//! | module | what it does |
//! |---|---|
//! | `container` | the file: header, checksum, sections |
//! | `manifest` | what is in it beside code and weights |
//! | `folders` | where data lies, seen from the artifact |
//! | `build` | writing |
//! | `load` | reading |

mod build;
mod container;
mod folders;
mod load;
mod manifest;
#[cfg(test)]
mod tests;

pub use build::{ArtifactBuilder, Written};
pub use container::{EXTENSION, is_artifact};
pub(crate) use load::Loaded;
pub(crate) use manifest::BoundRecord;
