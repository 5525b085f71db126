#[cfg(feature = "flex")]
use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

/// Backends with the loss of the next token.
#[backend_extension(Autodiff, Flex: cfg(feature = "flex"))]
pub trait NextTokenLossBackend: Backend {
    /// See [`next_token_loss`](crate::next_token_loss).
    fn next_token_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// The loss and, as far as `wanted`, its gradients by hidden states and weight, float32 in the
    /// shapes of these; not differentiable itself.
    fn next_token_loss_with_gradients(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> (
        FloatTensor<Self>,
        Option<FloatTensor<Self>>,
        Option<FloatTensor<Self>>,
    );
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
    ) -> (
        FloatTensor<Self>,
        Option<FloatTensor<Self>>,
        Option<FloatTensor<Self>>,
    ) {
        super::flex::loss(&hidden, &weight, targets, &row_weights, wanted)
    }
}
