use burn::module::{Module, Reparameterization};
use burn::tensor::Tensor;

use super::frozen_amax::FrozenAmax;
use super::values;
use crate::{Fp4Error, Fp4Scheme, fake_quantize_along, fake_quantize_with_amax};

/// The fake quantizer of one weight: reading the parameter gives the quantized value, gradients pass
/// straight through to the master weight.
///
/// An NVFP4 quantizer can hold the largest magnitude that its global scale is made from. It is
/// recorded as `<path of the weight>.weight_quantizer.global_amax` and never trained, so that a
/// resumed run goes on with it.
///
/// Burn allows one reparameterization per parameter.
#[derive(Module, Debug)]
pub struct WeightQuantizer {
    #[module(skip)]
    scheme: Fp4Scheme,
    global_amax: Option<FrozenAmax>,
}

impl WeightQuantizer {
    /// A quantizer that takes the global scale, if there is one, from the weight in every forward
    /// pass.
    pub fn new(scheme: Fp4Scheme) -> Self {
        Self {
            scheme,
            global_amax: None,
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
    /// If the weight is not `f32`, `bf16` or `f16`, or its device fails.
    pub fn frozen<const D: usize>(scheme: Fp4Scheme, weight: Tensor<D>) -> Result<Self, Fp4Error> {
        let n_scales = scheme.n_global_scales(&weight.dims());
        if n_scales == 0 {
            return Ok(Self::new(scheme));
        }
        let device = weight.device();
        let amax = values::amax(weight, n_scales)?;
        Ok(Self {
            scheme,
            global_amax: Some(FrozenAmax::new(Tensor::from_floats(
                amax.as_slice(),
                &device,
            ))),
        })
    }

    /// The scheme.
    pub fn scheme(&self) -> Fp4Scheme {
        self.scheme
    }

    /// The magnitudes that the global scales are made from, none if they follow the weight.
    ///
    /// # Shapes
    ///
    /// - output: `[1]`, or `[E]` with one global scale per expert
    pub fn global_amax(&self) -> Option<Tensor<1>> {
        self.global_amax.as_ref().map(FrozenAmax::val)
    }
}

impl Reparameterization for WeightQuantizer {
    const NAME: &'static str = "weight_quantizer";

    /// Blocks run along the contraction axis, the one before the last in `[.., in, out]` weights.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let axis = D - 2;
        match self.global_amax() {
            Some(amax) => fake_quantize_with_amax(base, amax, axis, &self.scheme),
            None => fake_quantize_along(base, axis, &self.scheme),
        }
    }
}
