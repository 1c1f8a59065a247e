//! The type of a value.

use std::fmt;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{DType, Device, Dim};

/// Dims from the outermost axis inwards; empty for a scalar.
pub type Shape = SmallVec<[Dim; 4]>;

/// dtype, shape and, once placed, device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Type {
    pub dtype: DType,
    #[serde(with = "crate::serial::small")]
    pub shape: Shape,
    /// `None` before the place pass, except where the program says it.
    pub device: Option<Device>,
}

impl Type {
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = Dim>) -> Type {
        Type { dtype, shape: shape.into_iter().collect(), device: None }
    }

    pub fn scalar(dtype: DType) -> Type {
        Type::new(dtype, [])
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn count(&self) -> Dim {
        self.shape.iter().fold(Dim::ONE, |n, d| &n * d)
    }

    /// The same dtype with another shape, on no particular device.
    pub fn with_shape(&self, shape: impl IntoIterator<Item = Dim>) -> Type {
        Type::new(self.dtype, shape)
    }

    pub fn on(self, device: impl Into<Option<Device>>) -> Type {
        Type { device: device.into(), ..self }
    }

    /// Equal dtype and shape, wherever the values live.
    pub fn same_but_device(&self, other: &Type) -> bool {
        self.dtype == other.dtype && self.shape == other.shape
    }

    /// All dims as numbers; `None` where one is symbolic, negative or overflowed.
    pub fn bound_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(|d| d.as_const().and_then(|n| usize::try_from(n).ok())).collect()
    }
}

impl fmt::Display for Type {
    /// `f32[batch,784]`, `i64` for a scalar; the device, if known, as ` @cpu:0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, ShapeText(&self.shape))?;
        match self.device {
            Some(d) => write!(f, " @{d}"),
            None => Ok(()),
        }
    }
}

/// A shape as `[a,b]`; nothing for a scalar.
pub struct ShapeText<'a>(pub &'a [Dim]);

impl fmt::Display for ShapeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let dims: Vec<String> = self.0.iter().map(Dim::to_string).collect();
        write!(f, "[{}]", dims.join(","))
    }
}
