//! Linear layers whose weight stays packed.

use burn::backend::Dispatch;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::error::Fp4Error;
use crate::module::activation::ActivationQuantizer;
use crate::ops::Fp4Backend;
use crate::packed::fp4_tensor::Fp4Tensor;
use crate::scheme::Fp4Scheme;

/// `x @ weight^T + bias` with a packed weight, accumulated in `f32`.
///
/// The weight is decoded tile by tile and never as a whole; the backward pass, whose only gradients
/// are those of `x` and `bias`, decodes it again. With `u = 2^-24` and `n = in`, an element of the
/// product differs from the exact one by at most `n * u / (1 - n * u)` times the sum of the magnitudes
/// of its `n` terms, before it is rounded to the dtype of `x`.
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
/// If the last dimension of `x` is not that of the weight, dtypes differ or are not `f32`, `bf16` or
/// `f16`, or the backend does not implement [`Fp4Backend`].
pub fn fp4_linear<const D: usize>(
    x: Tensor<D>,
    weight: &Fp4Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut shape = x.dims();
    let [d_output, d_input] = weight.shape();
    assert_eq!(
        shape.last(),
        Some(&d_input),
        "fp4_linear: x of shape {shape:?} does not fit a weight [{d_output}, {d_input}]"
    );
    let n_rows = shape[..D - 1].iter().product();
    shape[D - 1] = d_output;
    if shape.contains(&0) {
        // Burn's `reshape` takes a zero for an axis to keep.
        return Tensor::zeros(shape, (&x.device(), x.dtype()));
    }
    let product = if d_input == 0 {
        Tensor::zeros([n_rows, d_output], (&x.device(), x.dtype()))
    } else {
        let rows: Tensor<2> = x.reshape([n_rows, d_input]);
        let (rows, packed) = (rows.into_dispatch(), weight.primitive());
        Tensor::from_dispatch(Dispatch::fp4_linear(rows, packed, weight.scheme()))
    };
    let product: Tensor<2> = match bias {
        Some(bias) => product + bias.unsqueeze(),
        None => product,
    };
    product.reshape(shape)
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
    /// or the backend does not implement [`Fp4Backend`].
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
