//! The backend trait.

use burn::backend::backend_extension;
use burn::backend::tensor::FloatTensor;

#[cfg(all(feature = "_cube", feature = "fusion"))]
use super::fusion;
use crate::ops::Fp4Backend;
use crate::product::operand::OperandPrimitive;

/// Backends that multiply rows with a matrix.
///
/// Shapes: `x` is `[rows, in]`, `weight` one matrix from `in` to `out` with one global scale at most, `grad` `[rows, out]`, floats all of one
/// dtype but for a frozen weight, which may be narrower. Gradients are not differentiable themselves, and
/// none reaches packed matrices.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait LinearBackend: Fp4Backend {
    /// [`linear`](crate::linear) without a bias: `[rows, out]`.
    #[fusion(meta = fusion::linear_plain)]
    fn linear_plain(
        x: FloatTensor<Self>,
        #[extension_type] weight: OperandPrimitive<Self>,
    ) -> FloatTensor<Self>;

    /// [`linear`](crate::linear): `[rows, out]`.
    #[fusion(meta = fusion::linear_with_bias)]
    fn linear_with_bias(
        x: FloatTensor<Self>,
        #[extension_type] weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Gradient by `x`: `[rows, in]`.
    #[fusion(meta = fusion::backward)]
    fn linear_backward(
        grad: FloatTensor<Self>,
        #[extension_type] weight: OperandPrimitive<Self>,
    ) -> FloatTensor<Self>;

    /// Gradient by a dense weight: `[in, out]`.
    #[fusion(meta = fusion::weight_gradient)]
    fn linear_weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Gradient by the bias: `[out]`.
    #[fusion(meta = fusion::bias_gradient)]
    fn linear_bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self>;
}
