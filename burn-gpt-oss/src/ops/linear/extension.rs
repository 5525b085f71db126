//! The backend trait.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

#[cfg(all(feature = "_cube", feature = "fusion"))]
use super::fusion;

/// Backends that multiply rows with a matrix.
///
/// Shapes: `x` is `[rows, in]`, `weight` `[in, out]`, `grad` `[rows, out]`, all of one dtype but for a frozen
/// weight, which may be narrower. Gradients are not differentiable themselves.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait LinearBackend: Backend {
    /// [`linear`](crate::ops::linear) without a bias: `[rows, out]`.
    #[fusion(meta = fusion::linear_plain)]
    fn linear_plain(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// [`linear`](crate::ops::linear): `[rows, out]`.
    #[fusion(meta = fusion::linear_with_bias)]
    fn linear_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Gradient by `x`: `[rows, in]`.
    #[fusion(meta = fusion::backward)]
    fn linear_backward(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradient by the weight: `[in, out]`.
    #[fusion(meta = fusion::weight_gradient)]
    fn linear_weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradient by the bias: `[out]`.
    #[fusion(meta = fusion::bias_gradient)]
    fn linear_bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self>;
}
