//! The weight of a product.

#[cfg(all(feature = "_cube", feature = "fusion"))]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType};
use burn::tensor::Tensor;

use crate::ops::Fp4Primitive;
use crate::packed::fp4_tensor::Fp4Tensor;
use crate::scheme::Fp4Scheme;

/// A weight that rows are multiplied with, in either of two forms: one matrix, `D` is 2, or one for every
/// expert, `D` is 3.
#[derive(Clone, Debug)]
pub enum Operand<const D: usize> {
    /// Floats, `[..., in, out]`.
    Dense(Tensor<D>),
    /// FP4 codes with blocks along `in`, of logical shape `[..., out, in]`.
    Packed(Fp4Tensor<D>),
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
        }
    }

    pub(super) fn primitive(self) -> OperandPrimitive<Dispatch> {
        match self {
            Self::Dense(weight) => OperandPrimitive::Dense(weight.into_dispatch()),
            Self::Packed(weight) => OperandPrimitive::Packed(weight.primitive(), weight.scheme()),
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

/// [`Operand`] of a backend.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub enum OperandPrimitive<B: Backend> {
    /// `[..., in, out]`
    Dense(FloatTensor<B>),
    /// Packed `[..., out, in]`, and its scheme.
    Packed(#[extension_type] Fp4Primitive<B>, Fp4Scheme),
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
            Self::Packed(weight, ..) => {
                let [d_output, bytes] = last(&weight.codes);
                [2 * bytes, d_output]
            }
        }
    }
}
