//! What a value is, statically: dtype, shape, device.

mod device;
mod dim;
mod dtype;
mod facts;
mod linear;
mod solve;
#[cfg(test)]
mod tests;
mod ty;

pub use device::{Device, DeviceKind};
pub use dim::{Atom, Binding, Dim, Symbol};
pub use dtype::{DType, DTypeKind};
pub use facts::{DimFacts, Fact, Proof, Relation, SymbolDecl};
pub use ty::{Shape, ShapeText, Type};
