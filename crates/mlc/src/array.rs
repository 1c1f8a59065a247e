//! Arrays in and out.

use mlc_diag::Diagnostic;
use mlc_ir::DType;
use mlc_runtime::HostTensor;
use ndarray::{Array, ArrayD, ArrayRef, ArrayView, Dimension, IxDyn};

use crate::Error;

/// An element type that arrays can have.
pub trait Element: Copy + 'static {
    const DTYPE: DType;
    fn tensor(shape: &[usize], values: &[Self]) -> Option<HostTensor>;
    fn values(t: &HostTensor) -> Vec<Self>;
}

macro_rules! elements {
    ($($t:ty => $dtype:ident),*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;

            fn tensor(shape: &[usize], values: &[Self]) -> Option<HostTensor> {
                HostTensor::from_slice(shape, values).ok()
            }

            fn values(t: &HostTensor) -> Vec<Self> {
                let chunks = t.bytes().chunks_exact(size_of::<$t>());
                chunks.map(|b| <$t>::from_ne_bytes(b.try_into().expect("a chunk has the element's size"))).collect()
            }
        }
    )*};
}
elements!(f32 => F32, f64 => F64, i64 => I64, i32 => I32, i16 => I16, i8 => I8, u8 => U8);

impl Element for bool {
    const DTYPE: DType = DType::Bool;

    fn tensor(shape: &[usize], values: &[Self]) -> Option<HostTensor> {
        HostTensor::from_bools(shape, values).ok()
    }

    fn values(t: &HostTensor) -> Vec<Self> {
        t.bytes().iter().map(|&b| b != 0).collect()
    }
}

/// What can be fed to an entry.
pub trait IntoTensor {
    fn into_tensor(self) -> HostTensor;
}

fn of_view<T: Element, D: Dimension>(view: &ArrayRef<T, D>) -> HostTensor {
    let contiguous = view.as_standard_layout();
    let values = contiguous.as_slice().expect("standard layout is contiguous");
    T::tensor(view.shape(), values).expect("an array has as many elements as its shape says")
}

impl<T: Element, D: Dimension> IntoTensor for ArrayView<'_, T, D> {
    fn into_tensor(self) -> HostTensor {
        of_view(&self)
    }
}

impl<T: Element, D: Dimension> IntoTensor for &Array<T, D> {
    fn into_tensor(self) -> HostTensor {
        of_view(self)
    }
}

impl<T: Element, D: Dimension> IntoTensor for Array<T, D> {
    fn into_tensor(self) -> HostTensor {
        of_view(&self)
    }
}

impl IntoTensor for HostTensor {
    fn into_tensor(self) -> HostTensor {
        self
    }
}

/// The named results of a call.
#[derive(Debug, Clone)]
pub struct Results(pub(crate) Vec<(String, HostTensor)>);

impl Results {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.0.iter().map(|(n, t)| (n.as_str(), t))
    }

    pub fn get(&self, name: &str) -> Option<&HostTensor> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// A result as an array: `out`, or `out0`, `out1`, .. for a tuple.
    ///
    /// # Errors
    /// Where there is no such result, or it has another dtype.
    pub fn array<T: Element>(&self, name: &str) -> Result<ArrayD<T>, Error> {
        let names: Vec<&str> = self.0.iter().map(|(n, _)| n.as_str()).collect();
        let t = self.get(name).ok_or_else(|| {
            let d = Diagnostic::error("E0902", format!("there is no result `{name}`"));
            Error::plain(d.note(format!("results: {}", names.join(", "))))
        })?;
        if t.dtype() != T::DTYPE {
            let title = format!("the result `{name}` is {}, not {}", t.dtype(), T::DTYPE);
            return Err(Error::plain(Diagnostic::error("E0902", title)));
        }
        ArrayD::from_shape_vec(IxDyn(t.shape()), T::values(t))
            .map_err(|e| Error::plain(Diagnostic::bug(e.to_string())))
    }
}
