//! Fake quantization of tensors with learned block scales.

use burn::backend::Dispatch;
use burn::tensor::{DType, Tensor};

use super::{Fp4Backend, global_amax};
use crate::codec::block_axis::BlockAxis;
use crate::scheme::Fp4Scheme;

/// Rounds tensors with a trained parameter for every block scale (LSQ).
///
/// In MXFP4 the parameter is an offset of the exponent that the scale rule chose, rounded to an
/// integer; in NVFP4 it is the largest magnitude that the block is scaled for. The result is therefore
/// always the value of a valid packed FP4 tensor.
///
/// Gradients go to the tensor (zero where it saturates) and to the parameter, see
/// [`SliceQuantizer::learned_gradients`](crate::SliceQuantizer::learned_gradients).
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_fp4::{Fp4Scheme, LearnedQuantizer, fake_quantize_along};
///
/// let quantizer = LearnedQuantizer::new(Fp4Scheme::nvfp4());
/// let weight = Tensor::<2>::ones([64, 8], &Device::flex()) * 0.3;
/// let parameter = quantizer.initial_parameter(weight.clone(), 0);
/// assert_eq!(parameter.dims(), [4, 8]);
/// let out = quantizer.forward(weight.clone(), parameter, 0);
/// out.into_data().assert_eq(&fake_quantize_along(weight, 0, &Fp4Scheme::nvfp4()).into_data(), true);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedQuantizer {
    scheme: Fp4Scheme,
}

impl LearnedQuantizer {
    /// A quantizer for a format. The rule of NVFP4 only decides what the global scale is.
    pub const fn new(scheme: Fp4Scheme) -> Self {
        Self { scheme }
    }

    /// The numeric format.
    pub const fn scheme(&self) -> Fp4Scheme {
        self.scheme
    }

    /// The parameter with which [`forward`](Self::forward) equals plain fake quantization: zeros in MXFP4,
    /// the largest magnitude of each block in NVFP4 under
    /// [`Nvfp4ScaleRule::Nearest`](crate::Nvfp4ScaleRule). No gradient.
    ///
    /// # Shapes
    ///
    /// - tensor: `[..., len, ...]` with `len` at position `axis`
    /// - output: f32 `[..., len / block_size, ...]`
    ///
    /// # Panics
    ///
    /// If `axis` does not exist or `len` is not a multiple of the block size.
    pub fn initial_parameter<const D: usize>(&self, tensor: Tensor<D>, axis: usize) -> Tensor<D> {
        let shape = tensor.dims();
        let BlockAxis { outer, len, inner } = self.geometry(&shape, axis);
        let parameter = self.parameter_shape(shape, axis);
        if matches!(self.scheme, Fp4Scheme::Mxfp4 { .. }) || outer * len * inner == 0 {
            return Tensor::zeros(parameter, (&tensor.device(), DType::F32));
        }
        let block_size = self.scheme.block_size();
        let blocks = tensor.reshape([outer, len / block_size, block_size, inner]);
        let amax = blocks.abs().max_dim(2).cast(DType::F32);
        amax.reshape(parameter).detach()
    }

    /// Rounds a tensor in blocks along `axis`, its largest magnitude found anew.
    ///
    /// With gradient checkpointing the result is computed again in the backward pass, not kept.
    ///
    /// # Shapes
    ///
    /// - tensor, output: `[..., len, ...]` with `len` at position `axis`, a multiple of the block size
    /// - parameter: f32 `[..., len / block_size, ...]`
    ///
    /// # Panics
    ///
    /// If `axis` does not exist, a shape does not fit, the parameter is not `f32`, the dtype of the
    /// tensor is not `f32`, `bf16` or `f16`, or the backend does not implement [`Fp4Backend`].
    pub fn forward<const D: usize>(
        &self,
        tensor: Tensor<D>,
        parameter: Tensor<D>,
        axis: usize,
    ) -> Tensor<D> {
        let amax = global_amax(tensor.clone(), &self.scheme);
        self.forward_with_amax(tensor, parameter, amax, axis)
    }

    /// Rounds a tensor in blocks along `axis`, its largest magnitude given; MXFP4 ignores it.
    ///
    /// # Shapes
    ///
    /// - tensor, output: `[..., len, ...]` with `len` at position `axis`, a multiple of the block size
    /// - parameter: f32 `[..., len / block_size, ...]`
    /// - amax: f32, as [`global_amax`] returns it
    ///
    /// # Panics
    ///
    /// Those of [`forward`](Self::forward), and if `amax` has the wrong length or (where the backend
    /// can see its values) is negative or not finite.
    pub fn forward_with_amax<const D: usize>(
        &self,
        tensor: Tensor<D>,
        parameter: Tensor<D>,
        amax: Tensor<1>,
        axis: usize,
    ) -> Tensor<D> {
        let shape = tensor.dims();
        self.geometry(&shape, axis);
        assert_eq!(
            parameter.dims(),
            self.parameter_shape(shape, axis),
            "LearnedQuantizer: shape of the parameter for a tensor {shape:?} along axis {axis}"
        );
        Tensor::from_dispatch(Dispatch::fp4_learned_quantize(
            tensor.into_dispatch(),
            parameter.into_dispatch(),
            amax.into_dispatch(),
            axis,
            self.scheme,
        ))
    }

    fn geometry(&self, shape: &[usize], axis: usize) -> BlockAxis {
        match BlockAxis::new(shape, axis, &self.scheme) {
            Ok(geometry) => geometry,
            Err(error) => panic!("LearnedQuantizer: {error}"),
        }
    }

    fn parameter_shape<const D: usize>(&self, mut shape: [usize; D], axis: usize) -> [usize; D] {
        shape[axis] /= self.scheme.block_size();
        shape
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
