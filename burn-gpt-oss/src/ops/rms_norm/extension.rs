#[cfg(feature = "flex")]
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

#[cfg(all(feature = "_cube", feature = "fusion"))]
use super::fusion;

/// Backends with the root mean square norm.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait RmsNormBackend: Backend {
    /// See [`rms_norm`](crate::ops::rms_norm); with `1 / sqrt(mean(input^2) + epsilon)` of every row,
    /// float32 `[rows]`, which has no gradient.
    #[fusion(meta = fusion::norm)]
    fn rms_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients by the input, in its dtype, and by the weight, float32; not differentiable itself.
    ///
    /// # Shapes
    /// - grad, input: `[..., size]`
    /// - weight: `[size]`
    /// - reciprocals: `[rows]`, the second output of the norm
    #[fusion(meta = fusion::gradients)]
    fn rms_norm_gradients(
        grad: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        reciprocals: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

#[cfg(feature = "flex")]
impl RmsNormBackend for Flex {
    fn rms_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        super::flex::forward(&input, &weight, epsilon)
    }

    fn rms_norm_gradients(
        grad: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        reciprocals: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        super::flex::gradients(&grad, &input, &weight, &reciprocals)
    }
}
