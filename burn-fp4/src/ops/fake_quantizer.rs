//! Fake quantization of tensors with its options.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::{Fp4Backend, GradientRule};
use crate::codec::block_axis::BlockAxis;
use crate::scheme::Fp4Scheme;

/// Rounds tensors to what an FP4 format can represent: the format, and how gradients pass.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_fp4::{FakeQuantizer, Fp4Scheme, GradientRule, ScaleRule};
///
/// let quantizer = FakeQuantizer::new(Fp4Scheme::mxfp4_with(ScaleRule::Floor));
/// let quantizer = quantizer.with_gradient(GradientRule::ClipAware);
/// let x = Tensor::<2>::ones([4, 64], &Device::flex());
/// assert_eq!(quantizer.forward(x, 1).dims(), [4, 64]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FakeQuantizer {
    scheme: Fp4Scheme,
    gradient: GradientRule,
}

impl FakeQuantizer {
    /// A quantizer with [`GradientRule::StraightThrough`].
    pub const fn new(scheme: Fp4Scheme) -> Self {
        Self {
            scheme,
            gradient: GradientRule::StraightThrough,
        }
    }

    /// Sets how the gradient passes.
    pub const fn with_gradient(mut self, gradient: GradientRule) -> Self {
        self.gradient = gradient;
        self
    }

    /// The numeric format.
    pub const fn scheme(&self) -> Fp4Scheme {
        self.scheme
    }

    /// How the gradient passes.
    pub const fn gradient(&self) -> GradientRule {
        self.gradient
    }

    /// Rounds a tensor in blocks along `axis`, its largest magnitude found anew.
    ///
    /// The result has the dtype of the input and equals packing and decoding again, bit for bit. With
    /// gradient checkpointing it is computed again in the backward pass, not kept.
    ///
    /// NaN is ignored when scales are chosen and infinity counts as `f32::MAX`; both then saturate to
    /// `6 * scale` with their sign, as in ModelOpt's training kernel.
    ///
    /// # Shapes
    ///
    /// - tensor, output: `[..., len, ...]` with `len` at position `axis`, a multiple of the block size
    ///
    /// # Panics
    ///
    /// If `axis` does not exist, `len` is not a multiple of the block size, the dtype is not `f32`,
    /// `bf16` or `f16`, or the backend of the tensor does not implement [`Fp4Backend`].
    pub fn forward<const D: usize>(&self, tensor: Tensor<D>, axis: usize) -> Tensor<D> {
        let amax = global_amax(tensor.clone(), &self.scheme);
        self.forward_with_amax(tensor, amax, axis)
    }

    /// Rounds a tensor in blocks along `axis`, its largest magnitude given: larger elements saturate.
    ///
    /// No gradient goes to `amax`, and MXFP4, which has no global scale, ignores it.
    ///
    /// # Shapes
    ///
    /// - tensor, output: `[..., len, ...]` with `len` at position `axis`, a multiple of the block size
    /// - amax: f32, as [`global_amax`] returns it
    ///
    /// # Panics
    ///
    /// Those of [`forward`](Self::forward), and if `amax` has the wrong length or (where the backend
    /// can see its values) is negative or not finite.
    pub fn forward_with_amax<const D: usize>(
        &self,
        tensor: Tensor<D>,
        amax: Tensor<1>,
        axis: usize,
    ) -> Tensor<D> {
        if let Err(error) = BlockAxis::new(&tensor.dims(), axis, &self.scheme) {
            panic!("fake_quantize: {error}");
        }
        Tensor::from_dispatch(Dispatch::fp4_fake_quantize(
            tensor.into_dispatch(),
            amax.into_dispatch(),
            axis,
            self.scheme,
            self.gradient,
        ))
    }
}

/// Largest finite magnitude for each global scale, computed on the device; no gradient.
///
/// # Shapes
///
/// - tensor: any
/// - output: f32 `[1]`, or with [`GlobalScope::Expert`](crate::GlobalScope) the length of the leading
///   axis; MXFP4: `[1]`, a 1 that nothing reads
///
/// # Panics
///
/// If the dtype is not `f32`, `bf16` or `f16`, or the backend does not implement [`Fp4Backend`].
pub fn global_amax<const D: usize>(tensor: Tensor<D>, scheme: &Fp4Scheme) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::fp4_amax(tensor.into_dispatch(), *scheme))
}

#[cfg(all(test, feature = "flex"))]
mod tests;
