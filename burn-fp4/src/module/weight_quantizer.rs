use burn::module::{Module, Param, Reparameterization};
use burn::tensor::Tensor;

use crate::codec::frozen::Frozen;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;
use crate::ops::{FakeQuantizer, GradientRule, LearnedQuantizer, global_amax};
use crate::packed::fp4_tensor::Fp4Tensor;
use crate::packed::{PackedFp4, host};
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalAmax;

/// The fake quantizer of one weight: reading the parameter gives the quantized value, gradients pass
/// to the master weight, straight through unless [`with_gradient`](Self::with_gradient) says otherwise.
///
/// An NVFP4 quantizer can hold the largest magnitude that its global scale is made from. It is
/// recorded as `<path of the weight>.weight_quantizer.global_amax` and never trained, so that a
/// resumed run goes on with it.
///
/// With [`with_learned_scales`](Self::with_learned_scales) every block scale has a parameter that trains beside the weight,
/// recorded as `<path of the weight>.weight_quantizer.learned_scales`.
///
/// Burn allows one reparameterization per parameter.
#[derive(Module, Debug)]
pub struct WeightQuantizer {
    #[module(skip)]
    scheme: Fp4Scheme,
    #[module(skip)]
    gradient: GradientRule,
    global_amax: Option<Frozen>,
    /// Those of all blocks, in the order of the weight.
    learned_scales: Option<Param<Tensor<1>>>,
}

/// Field of the trained parameters of block scales.
pub(super) const LEARNED_SCALES: &str = "learned_scales";

impl WeightQuantizer {
    /// A quantizer that takes the global scale, if there is one, from the weight in every forward
    /// pass.
    pub fn new(scheme: Fp4Scheme) -> Self {
        Self {
            scheme,
            gradient: GradientRule::StraightThrough,
            global_amax: None,
            learned_scales: None,
        }
    }

    /// A quantizer whose global scale is that of `weight` as it is now, until
    /// [`refresh_global_amax`](crate::refresh_global_amax). Without a global scale, in MXFP4, the
    /// same as [`new`](Self::new).
    ///
    /// # Shapes
    ///
    /// - weight: `[.., in, out]`
    ///
    /// # Errors
    ///
    /// If the weight is not `f32`, `bf16` or `f16`.
    pub fn frozen<const D: usize>(scheme: Fp4Scheme, weight: Tensor<D>) -> Result<Self, Fp4Error> {
        host::check_dtype(weight.dtype())?;
        let global_amax = match scheme {
            Fp4Scheme::Mxfp4 { .. } => None,
            Fp4Scheme::Nvfp4 { .. } => Some(Frozen::new(global_amax(weight, &scheme))),
        };
        Ok(Self {
            scheme,
            gradient: GradientRule::StraightThrough,
            global_amax,
            learned_scales: None,
        })
    }

    /// Sets how the gradient passes.
    pub fn with_gradient(mut self, gradient: GradientRule) -> Self {
        self.gradient = gradient;
        self
    }

    /// Trains a parameter for every block scale, see [`LearnedQuantizer`]. It begins where
    /// [`LearnedQuantizer::initial_parameter`] says: with the scales of `weight` as it is now. Gradients of weights are zero
    /// where they saturate.
    ///
    /// # Shapes
    ///
    /// - weight: `[.., in, out]`, `in` a multiple of the block size
    ///
    /// # Panics
    ///
    /// If the shape does not fit.
    pub fn with_learned_scales<const D: usize>(mut self, weight: Tensor<D>) -> Self {
        let parameter = LearnedQuantizer::new(self.scheme).initial_parameter(weight, D - 2);
        let n_blocks = parameter.shape().num_elements();
        self.learned_scales = Some(Param::from_tensor(parameter.reshape([n_blocks])));
        self
    }

    /// Whether block scales have a parameter that trains.
    pub fn learns_scales(&self) -> bool {
        self.learned_scales.is_some()
    }

    /// A weight in codes and scales, those of the forward pass.
    ///
    /// # Shapes
    ///
    /// - values: `shape`, `[.., in, out]`
    /// - output: `[.., out, in]`
    ///
    /// # Errors
    ///
    /// Those of [`SliceQuantizer::quantize`], and if the device fails.
    pub fn pack(&self, values: &[f32], shape: &[usize]) -> Result<PackedFp4, Fp4Error> {
        let (slices, axis) = (self.to_slices()?, shape.len().saturating_sub(2));
        match &self.learned_scales {
            Some(parameter) => {
                let parameter: Vec<f32> = host::read(parameter.val().try_into_data())?;
                slices.quantize_learned(values, &parameter, shape, axis)
            }
            None => slices.quantize(values, shape, axis),
        }
    }

    /// A weight in codes and scales on its device, those of the forward pass; no gradient passes. None with learned
    /// scales, and where the gradient is not handed through unchanged: both need the floats.
    ///
    /// # Shapes
    ///
    /// - weight: `[.., in, out]`
    /// - output: logical `[.., out, in]`
    ///
    /// # Panics
    ///
    /// As [`FakeQuantizer::forward`].
    pub fn codes<const D: usize>(&self, weight: Tensor<D>) -> Option<Fp4Tensor<D>> {
        if self.learns_scales() || self.gradient != GradientRule::StraightThrough {
            return None;
        }
        Some(match self.global_amax() {
            Some(amax) => Fp4Tensor::quantize_with_amax(weight, amax, D - 2, &self.scheme),
            None => Fp4Tensor::quantize(weight, D - 2, &self.scheme),
        })
    }

    /// The scheme.
    pub fn scheme(&self) -> Fp4Scheme {
        self.scheme
    }

    /// The same quantizer for slices, with the scheme and the global scales of the forward pass; learned block scales
    /// are no part of it.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn to_slices(&self) -> Result<SliceQuantizer, Fp4Error> {
        let slices = SliceQuantizer::new(self.scheme);
        Ok(match self.global_amax() {
            Some(amax) => {
                let amax = host::read(amax.try_into_data())?;
                slices.with_global_amax(GlobalAmax::Frozen(amax))
            }
            None => slices,
        })
    }

    /// How the gradient passes.
    pub fn gradient(&self) -> GradientRule {
        self.gradient
    }

    /// The magnitudes that the global scales are made from, none if they follow the weight.
    ///
    /// # Shapes
    ///
    /// - output: `[1]`, or `[E]` with one global scale per expert
    pub fn global_amax(&self) -> Option<Tensor<1>> {
        self.global_amax.as_ref().map(Frozen::val)
    }
}

impl Reparameterization for WeightQuantizer {
    const NAME: &'static str = "weight_quantizer";

    /// Blocks run along the contraction axis, the one before the last in `[.., in, out]` weights.
    ///
    /// # Panics
    ///
    /// If the weight has less than two axes, and as [`FakeQuantizer::forward`].
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        assert!(
            D >= 2,
            "WeightQuantizer: a weight [.., in, out] has two axes or more, this has {D}"
        );
        if let Some(parameter) = &self.learned_scales {
            let mut shape = base.dims();
            shape[D - 2] /= self.scheme.block_size();
            let parameter = parameter.val().reshape(shape);
            let amax = self.global_amax();
            let amax = amax.unwrap_or_else(|| global_amax(base.clone(), &self.scheme));
            let quantizer = LearnedQuantizer::new(self.scheme);
            return quantizer.forward_with_amax(base, parameter, amax, D - 2);
        }
        let quantizer = FakeQuantizer::new(self.scheme).with_gradient(self.gradient);
        match self.global_amax() {
            Some(amax) => quantizer.forward_with_amax(base, amax, D - 2),
            None => quantizer.forward(base, D - 2),
        }
    }
}
