use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};

use crate::ops::rms_norm;

/// Root mean square norm, `Y = X / sqrt(mean(X^2) + epsilon) * weight`.
///
/// Statistics and the product with the weight are float32, the result is cast to the input's dtype
/// (Burn's own `RmsNorm` casts before the product, which gives other bits in half precision).
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Scale per channel, `[hidden_size]`.
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
}

impl RmsNorm {
    /// A norm over `size` channels with unit weight.
    pub fn new(size: usize, epsilon: f64, device: &Device) -> Self {
        let weight = burn::nn::Initializer::Ones.init([size], device);
        Self { weight, epsilon }
    }

    /// Normalizes the last axis.
    ///
    /// # Shapes
    /// - input: `[..., any, hidden_size]`
    /// - output: `[..., any, hidden_size]`
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        rms_norm(input, self.weight.val().cast(DType::F32), self.epsilon)
    }
}
