//! Tensor operations, for every backend that implements [`Fp4Backend`].

mod autodiff;
mod extension;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::Fp4Scheme;
use crate::block_axis::BlockAxis;

pub use extension::Fp4Backend;

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
/// The result has the dtype of the input and equals packing and decoding again, bit for bit. The
/// gradient passes through unchanged (straight-through estimator, no clipping). With gradient
/// checkpointing the result is computed again in the backward pass, not kept.
///
/// NaN is ignored when the block scale is chosen and infinity counts as `f32::MAX`; both then
/// saturate to `6 * scale` with their sign, as in ModelOpt's training kernel.
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
    if let Err(error) = BlockAxis::new(&tensor.dims(), axis, scheme) {
        panic!("fake_quantize: {error}");
    }
    let primitive = tensor.into_dispatch();
    Tensor::from_dispatch(Dispatch::fp4_fake_quantize(primitive, axis, *scheme))
}

/// [`fake_quantize_along`] with a given global scale, made from the largest magnitude `amax`.
///
/// Larger elements saturate. The gradient goes to `tensor` alone. MXFP4, which has no global scale,
/// ignores `amax`.
///
/// # Shapes
///
/// - tensor: `[..., len, ...]` with `len` at position `axis`, a multiple of the block size
/// - amax: `[1]`, or `[E]` where every index of the leading axis has its own global scale
/// - output: as `tensor`
///
/// # Panics
///
/// As [`fake_quantize_along`], and if `amax` has another length or holds a value that is negative or
/// not finite.
pub fn fake_quantize_with_amax<const D: usize>(
    tensor: Tensor<D>,
    amax: Tensor<1>,
    axis: usize,
    scheme: &Fp4Scheme,
) -> Tensor<D> {
    if let Err(error) = BlockAxis::new(&tensor.dims(), axis, scheme) {
        panic!("fake_quantize: {error}");
    }
    Tensor::from_dispatch(Dispatch::fp4_fake_quantize_with_amax(
        tensor.into_dispatch(),
        amax.without_autodiff().into_dispatch(),
        axis,
        *scheme,
    ))
}

#[cfg(all(test, feature = "flex"))]
mod tests;
