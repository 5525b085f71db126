//! Tensor operations, for every backend that implements [`Fp4Backend`].
#[cfg(feature = "_cube")]
pub(crate) mod kernels;

pub(crate) mod autodiff;
#[cfg(feature = "_cube")]
pub(crate) mod cube;
pub(crate) mod extension;
mod fake_quantizer;
#[cfg(feature = "flex")]
mod flex;
mod fp8;
#[cfg(all(feature = "_cube", feature = "fusion"))]
mod fusion;
mod gradient_rule;
mod learned_quantizer;

use burn::tensor::{FloatDType, Tensor};

use crate::packed::fp4_tensor::Fp4Tensor;
use crate::scheme::Fp4Scheme;

pub use extension::{Fp4Backend, Fp4Primitive, LearnedGradients};
pub use fake_quantizer::{FakeQuantizer, global_amax};
pub use fp8::fp8_fake_quantize;
pub use gradient_rule::GradientRule;
pub use learned_quantizer::LearnedQuantizer;

/// Rounds a tensor to what the FP4 format can represent, in blocks along the last axis.
///
/// See [`fake_quantize_along`].
///
/// # Shapes
///
/// - tensor: `[..., len]`, `len` a multiple of the block size
/// - output: `[..., len]`
///
/// # Panics
///
/// If `len` is not a multiple of the block size or the dtype is not `f32`, `bf16` or `f16`.
pub fn fake_quantize<const D: usize>(tensor: Tensor<D>, scheme: &Fp4Scheme) -> Tensor<D> {
    fake_quantize_along(tensor, D.saturating_sub(1), scheme)
}

/// Rounds a tensor to what the FP4 format can represent, in blocks along `axis`.
///
/// [`FakeQuantizer::forward`] with [`GradientRule::StraightThrough`].
///
/// # Shapes
///
/// - tensor: `[..., len, ...]` with `len` at position `axis`, a multiple of the block size
/// - output: as `tensor`
///
/// # Panics
///
/// If `axis` does not exist, `len` is not a multiple of the block size, the dtype is not `f32`,
/// `bf16` or `f16`, or the backend of the tensor does not implement [`Fp4Backend`].
pub fn fake_quantize_along<const D: usize>(
    tensor: Tensor<D>,
    axis: usize,
    scheme: &Fp4Scheme,
) -> Tensor<D> {
    FakeQuantizer::new(*scheme).forward(tensor, axis)
}

/// Packs a tensor in blocks along `axis`: [`Fp4Tensor::quantize`].
///
/// # Shapes
///
/// - tensor: `[..., len, ...]` with `len` at position `axis`, a multiple of the block size
/// - result: `axis` moved last
///
/// # Panics
///
/// Those of [`fake_quantize_along`].
pub fn quantize<const D: usize>(
    tensor: Tensor<D>,
    axis: usize,
    scheme: &Fp4Scheme,
) -> Fp4Tensor<D> {
    Fp4Tensor::quantize(tensor, axis, scheme)
}

/// Decodes a packed tensor with the block axis moved from the end to `axis`:
/// [`Fp4Tensor::dequantize`].
///
/// # Shapes
///
/// - output: `[..., len, ...]` with `len` at position `axis`
///
/// # Panics
///
/// If `axis` does not exist, `dtype` is not `F32`, `BF16` or `F16`, or the backend does not implement
/// [`Fp4Backend`].
pub fn dequantize<const D: usize>(
    tensor: &Fp4Tensor<D>,
    axis: usize,
    dtype: FloatDType,
) -> Tensor<D> {
    tensor.dequantize(axis, dtype)
}

#[cfg(all(test, feature = "flex"))]
mod tests;
