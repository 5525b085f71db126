use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

/// Backends with the SwiGLU of gpt-oss.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait SwigluBackend: Backend {
    /// See [`clamped_swiglu`](crate::ops::clamped_swiglu).
    #[fusion(dtype = x, shape = burn::tensor::Shape::new([x[0], x[1] / 2]))]
    fn clamped_swiglu(x: FloatTensor<Self>, limit: f32, alpha: f32) -> FloatTensor<Self>;

    /// Gradient of `x`, not differentiable itself: `[rows, width], [rows, 2 * width] -> [rows, 2 *
    /// width]`.
    #[fusion(dtype = x, shape = x)]
    fn clamped_swiglu_backward(
        grad: FloatTensor<Self>,
        x: FloatTensor<Self>,
        limit: f32,
        alpha: f32,
    ) -> FloatTensor<Self>;
}
