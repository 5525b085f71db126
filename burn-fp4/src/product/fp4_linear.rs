//! Linear layers whose weight stays packed.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::error::Fp4Error;
use crate::module::activation::ActivationQuantizer;
use crate::packed::fp4_tensor::Fp4Tensor;
use crate::product::linear::linear;
use crate::scheme::Fp4Scheme;

/// `x @ weight^T + bias` with a packed weight: [`linear`].
///
/// # Shapes
///
/// - x: `[..., in]`
/// - weight: `[out, in]`
/// - bias: `[out]`, dtype of `x`
/// - output: `[..., out]`, dtype of `x`
///
/// # Panics
///
/// Those of [`linear`].
pub fn fp4_linear<const D: usize>(
    x: Tensor<D>,
    weight: &Fp4Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    linear(x, weight.clone(), bias)
}

/// A linear layer with a frozen FP4 weight, the counterpart of [`Linear`].
#[derive(Module, Debug)]
pub struct Fp4Linear {
    /// Weight `[out, in]`, blocks along `in`.
    pub weight: Fp4Tensor<2>,
    /// Bias `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Quantizes the input, for W4A4 and W4A8.
    pub input_quantizer: Option<ActivationQuantizer>,
}

impl Fp4Linear {
    /// Puts a layer together from its parts.
    ///
    /// # Shapes
    ///
    /// - weight: `[out, in]`
    /// - bias: `[out]`
    ///
    /// # Errors
    ///
    /// If the bias does not have one element per output.
    pub fn from_parts(
        weight: Fp4Tensor<2>,
        bias: Option<Param<Tensor<1>>>,
    ) -> Result<Self, Fp4Error> {
        let [d_output, _] = weight.shape();
        if let Some(bias) = &bias {
            let found = bias.lazy_shape().num_elements();
            if found != d_output {
                return Err(Fp4Error::Length {
                    what: "bias",
                    shape: vec![d_output],
                    expected: d_output,
                    found,
                });
            }
        }
        Ok(Self {
            weight,
            bias,
            input_quantizer: None,
        })
    }

    /// Packs the weight of a dense layer, what its parameter evaluates to included (a
    /// reparameterization such as an adapter); the bias stays the same parameter.
    ///
    /// # Panics
    ///
    /// If the input size is not a multiple of the block size, the dtype is not `f32`, `bf16` or `f16`,
    /// or the backend does not implement [`Fp4Backend`](crate::backend::Fp4Backend).
    pub fn from_linear(linear: &Linear, scheme: &Fp4Scheme) -> Self {
        Self {
            // Burn keeps the weight as [in, out].
            weight: Fp4Tensor::quantize(linear.weight.val(), 0, scheme),
            bias: linear.bias.clone(),
            input_quantizer: None,
        }
    }

    /// Quantizes the input with `quantizer` from now on, as far as it is enabled.
    pub fn with_input_quantizer(mut self, quantizer: ActivationQuantizer) -> Self {
        self.input_quantizer = Some(quantizer);
        self
    }

    /// Applies the layer, see [`fp4_linear`].
    ///
    /// # Shapes
    ///
    /// - x: `[..., in]`
    /// - output: `[..., out]`
    ///
    /// # Panics
    ///
    /// Those of [`fp4_linear`] and of [`ActivationQuantizer::forward`].
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = match &self.input_quantizer {
            Some(quantizer) => quantizer.forward(x),
            None => x,
        };
        fp4_linear(x, &self.weight, self.bias.as_ref().map(Param::val))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
