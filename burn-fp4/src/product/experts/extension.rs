//! The backend trait.

#[cfg(all(feature = "_cube", feature = "fusion"))]
use super::fusion;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, backend_extension};

use crate::ops::{Fp4Backend, Fp4Primitive};
use crate::product::low_rank::LowRankPrimitive;
use crate::product::operand::OperandPrimitive;
use crate::scheme::Fp4Scheme;

/// [`ExpertRouting`](crate::ExpertRouting) of a backend.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub struct ExpertRoutes<B: Backend> {
    /// `[tokens * top_k]`
    pub order: IntTensor<B>,
    /// `[experts + 1]`
    pub offsets: IntTensor<B>,
    /// Experts of every token.
    pub top_k: usize,
}

/// Gradients of two inputs of [`ExpertBackend::expert_combine`].
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub struct CombineGradients<B: Backend> {
    /// `[tokens * top_k, in]`
    pub rows: FloatTensor<B>,
    /// `[tokens, top_k]`
    pub scores: FloatTensor<B>,
}

/// Backends that multiply tokens with the matrices of their experts.
///
/// Call the functions of this crate that take a [`Tensor`](burn::tensor::Tensor) instead of the
/// methods. No method needs values on the host: which expert has how many rows is known from tensors
/// alone. Gradients are not differentiable themselves, and none reaches packed matrices.
///
/// Shapes: `rows` is `tokens * top_k`.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait ExpertBackend: Fp4Backend {
    /// See [`expert_routing`](crate::expert_routing).
    #[fusion(meta = fusion::routing)]
    fn expert_routing(indices: IntTensor<Self>, n_experts: usize) -> ExpertRoutes<Self>;

    /// Codes of `Q(base + scaling * a b)`, `[experts, out, in]` with blocks along `in`, for experts that have
    /// rows; see [`Adapted`](crate::Adapted). Those of other experts are unspecified. No gradient.
    ///
    /// `base` is dense or packed, and `global_scales` are those of [`Fp4Primitive`].
    #[fusion(meta = fusion::merge)]
    fn expert_merge(
        #[extension_type] base: OperandPrimitive<Self>,
        #[extension_type] delta: LowRankPrimitive<Self>,
        global_scales: FloatTensor<Self>,
        #[extension_type] routes: ExpertRoutes<Self>,
        scheme: Fp4Scheme,
    ) -> Fp4Primitive<Self>;

    /// See [`expert_linear`](crate::expert_linear).
    #[fusion(meta = fusion::linear)]
    fn expert_linear(
        x: FloatTensor<Self>,
        #[extension_type] weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        #[extension_type] routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self>;

    /// Gradient of `x` of [`expert_linear`](Self::expert_linear): `[rows, out] -> [tokens, in]`.
    #[fusion(meta = fusion::linear_backward)]
    fn expert_linear_backward(
        grad: FloatTensor<Self>,
        #[extension_type] weight: OperandPrimitive<Self>,
        #[extension_type] routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self>;

    /// Gradient of the matrices of [`expert_linear`](Self::expert_linear):
    /// `[tokens, in], [rows, out] -> [experts, in, out]`.
    #[fusion(meta = fusion::linear_weight_gradient)]
    fn expert_linear_weight_gradient(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        #[extension_type] routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self>;

    /// Gradient of the bias of [`expert_linear`](Self::expert_linear):
    /// `[rows, out] -> [experts, out]`.
    #[fusion(meta = fusion::linear_bias_gradient)]
    fn expert_linear_bias_gradient(
        grad: FloatTensor<Self>,
        #[extension_type] routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self>;

    /// See [`expert_combine`](crate::expert_combine).
    #[fusion(meta = fusion::combine)]
    fn expert_combine(
        rows: FloatTensor<Self>,
        #[extension_type] weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        #[extension_type] routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self>;

    /// See [`expert_combine_gradients`](crate::expert_combine_gradients).
    #[fusion(meta = fusion::combine)]
    fn expert_combine_gradients(
        rows: FloatTensor<Self>,
        #[extension_type] weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        #[extension_type] routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self>;

    /// Gradients of the rows and the scores of [`expert_combine`](Self::expert_combine), with
    /// `grad: [tokens, out]`.
    ///
    /// Neither needs the products of the forward pass: with `u = grad[token] @ weight[expert]^T`, the
    /// gradient of a row is `score * u`, that of its score `rows[row] . u + bias[expert] . grad[token]`.
    #[fusion(meta = fusion::combine_backward)]
    fn expert_combine_backward(
        grad: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        #[extension_type] weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        #[extension_type] routes: ExpertRoutes<Self>,
    ) -> CombineGradients<Self>;

    /// Gradient of the matrices of [`expert_combine`](Self::expert_combine):
    /// `[tokens, out], [rows, in], [tokens, top_k] -> [experts, in, out]`.
    #[fusion(meta = fusion::combine_weight_gradient)]
    fn expert_combine_weight_gradient(
        grad: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        #[extension_type] routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self>;

    /// Gradient of the bias of [`expert_combine`](Self::expert_combine):
    /// `[tokens, out], [tokens, top_k] -> [experts, out]`.
    #[fusion(meta = fusion::combine_bias_gradient)]
    fn expert_combine_bias_gradient(
        grad: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        #[extension_type] routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self>;
}
