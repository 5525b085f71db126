use crate::codec::block_axis::check_len;
use crate::error::Fp4Error;

/// A tensor as a file holds it: a shape and row-major data.
///
/// `D` is what holds the data, bytes (`Vec<u8>`, `&[u8]`) or floats (`Vec<f32>`).
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor<D = Vec<u8>> {
    /// Length of every axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many elements as the shape says.
    pub data: D,
}

impl<D> StoredTensor<D> {
    /// Puts shape and data together; the functions that read the tensor check that they fit.
    pub fn new(shape: impl Into<Vec<usize>>, data: D) -> Self {
        Self {
            shape: shape.into(),
            data,
        }
    }

    /// Fails unless there are as many elements as the shape says.
    pub(super) fn check_len<T>(&self, what: &'static str) -> Result<(), Fp4Error>
    where
        D: AsRef<[T]>,
    {
        check_len(what, &self.shape, self.data.as_ref().len())
    }
}

impl StoredTensor<Vec<f32>> {
    /// A tensor without axes: a global scale for everything.
    pub fn scalar(value: f32) -> Self {
        Self::new([], vec![value])
    }
}
