#[cfg(feature = "flex")]
use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

#[cfg(all(feature = "_cube", feature = "fusion"))]
use super::fusion;

/// Backends with the loss of the next token.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait NextTokenLossBackend: Backend {
    /// See [`next_token_loss`](crate::ops::next_token_loss).
    #[fusion(dtype = burn::tensor::DType::F32, shape = burn::tensor::Shape::new([1]))]
    fn next_token_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// The loss and, as far as `wanted`, its gradients by hidden states and weight, float32 in the
    /// shapes of these; one number that means nothing for what is not wanted. Not differentiable
    /// itself.
    #[fusion(meta = fusion::with_gradients)]
    fn next_token_loss_with_gradients(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

#[cfg(feature = "flex")]
impl NextTokenLossBackend for Flex {
    fn next_token_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        super::flex::loss(&hidden, &weight, targets, &row_weights, [false; 2]).0
    }

    fn next_token_loss_with_gradients(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (loss, by_hidden, by_weight) =
            super::flex::loss(&hidden, &weight, targets, &row_weights, wanted);
        let or_none = |gradient: Option<_>| gradient.unwrap_or_else(|| loss.clone());
        (loss.clone(), or_none(by_hidden), or_none(by_weight))
    }
}
