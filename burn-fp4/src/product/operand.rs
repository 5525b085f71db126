//! The weight of a product.

#[cfg(all(feature = "_cube", feature = "fusion"))]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::low_rank::{Adapted, LowRankPrimitive};
use crate::ops::Fp4Primitive;
use crate::packed::fp4_tensor::Fp4Tensor;
use crate::scheme::Fp4Scheme;

/// A weight that rows are multiplied with, in one of four forms: one matrix, `D` is 2, or one for every
/// expert, `D` is 3.
#[derive(Clone, Debug)]
pub enum Operand<const D: usize> {
    /// Floats, `[..., in, out]`.
    Dense(Tensor<D>),
    /// FP4 codes with blocks along `in`, of logical shape `[..., out, in]`.
    Packed(Fp4Tensor<D>),
    /// One of the first two, frozen, with a low-rank delta that trains.
    Adapted(Box<Adapted<D>>),
    /// Floats that train, multiplied as the codes they are rounded to.
    Rounded(Box<Rounded<D>>),
}

/// A weight that trains, `[..., in, out]`, and its codes, of logical shape `[..., out, in]`.
///
/// Rows are multiplied with the codes, tile by tile, so that no float copy of them exists. The gradient of the
/// product passes straight through the rounding to the weight, in the dtype of the rows.
#[derive(Clone, Debug)]
pub struct Rounded<const D: usize> {
    master: Tensor<D>,
    codes: Fp4Tensor<D>,
}

impl<const D: usize> Rounded<D> {
    /// A weight with what it is rounded to.
    ///
    /// # Panics
    /// If the codes are those of another shape.
    pub fn new(master: Tensor<D>, codes: Fp4Tensor<D>) -> Self {
        let mut shape = codes.shape();
        shape.swap(D - 2, D - 1);
        assert_eq!(shape, master.dims(), "codes of another weight");
        Self { master, codes }
    }

    /// The codes that rows are multiplied with.
    pub fn codes(&self) -> &Fp4Tensor<D> {
        &self.codes
    }
}

impl<const D: usize> Operand<D> {
    /// `[..., in, out]`
    pub fn shape(&self) -> [usize; D] {
        match self {
            Self::Dense(weight) => weight.dims(),
            Self::Packed(weight) => {
                let mut shape = weight.shape();
                shape.swap(D - 2, D - 1);
                shape
            }
            Self::Adapted(weight) => weight.shape(),
            Self::Rounded(weight) => weight.master.dims(),
        }
    }

    /// Not of an adapted weight, which is merged first.
    pub(super) fn primitive(self) -> OperandPrimitive<Dispatch> {
        match self {
            Self::Dense(weight) => OperandPrimitive::Dense(weight.into_dispatch()),
            Self::Packed(weight) => OperandPrimitive::Packed(weight.primitive(), weight.scheme()),
            Self::Adapted(_) => unreachable!("an adapted weight is not multiplied as it is"),
            Self::Rounded(weight) => OperandPrimitive::Rounded(
                weight.codes.primitive(),
                weight.codes.scheme(),
                weight.master.into_dispatch(),
            ),
        }
    }
}

impl<const D: usize> From<Tensor<D>> for Operand<D> {
    fn from(weight: Tensor<D>) -> Self {
        Self::Dense(weight)
    }
}

impl<const D: usize> From<Fp4Tensor<D>> for Operand<D> {
    fn from(weight: Fp4Tensor<D>) -> Self {
        Self::Packed(weight)
    }
}

impl<const D: usize> From<Adapted<D>> for Operand<D> {
    fn from(weight: Adapted<D>) -> Self {
        Self::Adapted(Box::new(weight))
    }
}

impl<const D: usize> From<Rounded<D>> for Operand<D> {
    fn from(weight: Rounded<D>) -> Self {
        Self::Rounded(Box::new(weight))
    }
}

/// [`Operand`] of a backend.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub enum OperandPrimitive<B: Backend> {
    /// `[..., in, out]`
    Dense(FloatTensor<B>),
    /// Packed `[..., out, in]`, and its scheme.
    Packed(#[extension_type] Fp4Primitive<B>, Fp4Scheme),
    /// The packed sum of a weight and a delta; the delta is there for its gradient.
    Merged(
        #[extension_type] Fp4Primitive<B>,
        Fp4Scheme,
        #[extension_type] LowRankPrimitive<B>,
    ),
    /// A packed weight and the floats it was made of, which are there for their gradient.
    Rounded(#[extension_type] Fp4Primitive<B>, Fp4Scheme, FloatTensor<B>),
}

#[cfg(all(feature = "_cube", feature = "fusion"))]
impl OperandPrimitiveMetadata {
    /// Elements of an input and of an output.
    pub(super) fn widths(&self) -> [usize; 2] {
        let last = |tensor: &TensorSpec| {
            let rank = tensor.shape.num_dims();
            [tensor.shape[rank - 2], tensor.shape[rank - 1]]
        };
        match self {
            Self::Dense(weight) => last(weight),
            Self::Packed(weight, ..) | Self::Merged(weight, ..) | Self::Rounded(weight, ..) => {
                let [d_output, bytes] = last(&weight.codes);
                [2 * bytes, d_output]
            }
        }
    }
}
