//! What a value is, statically: dtype, shape, device.

mod device;
mod dtype;

pub use device::{Device, DeviceKind};
pub use dtype::{DType, DTypeKind};
