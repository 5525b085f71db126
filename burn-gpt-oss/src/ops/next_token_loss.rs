//! Cross entropy of the next token, with the head.

mod autodiff;
#[cfg(feature = "_cube")]
pub(super) mod cube;
mod extension;
#[cfg(feature = "flex")]
mod flex;
#[cfg(all(feature = "_cube", feature = "fusion"))]
mod fusion;

use burn::backend::Dispatch;
use burn::tensor::{DType, Int, Tensor};

pub use extension::NextTokenLossBackend;

/// Weighted sum of the negative log likelihoods of the targets, in nats:
/// `sum_i row_weights[i] * -log softmax(hidden[i] weight)[targets[i]]`.
///
/// The logits of all rows never exist together: rows are taken in chunks, in `f32`. The gradients of
/// hidden states and weight are computed in the same pass, while the logits of a chunk are there, and
/// scaled by the gradient of the loss later (as in Liger Kernel, Hsu et al. 2024, section 3.2), so that
/// nothing is computed twice. A frozen weight costs no gradient. Row weights are constants.
///
/// # Shapes
/// - hidden: `[rows, hidden_size]`
/// - weight: `[hidden_size, vocab_size]`, dtype of `hidden`, or `bf16` or `f16` beside `f32`; its gradient has that of `hidden`
/// - targets: `[rows]`
/// - row_weights: `[rows]`, float32
/// - output: `[1]`, float32
///
/// # Panics
/// If shapes or dtypes disagree, or a target is not in the vocabulary.
pub fn next_token_loss(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    row_weights: Tensor<1>,
) -> Tensor<1> {
    check(&hidden, &weight, &targets, &row_weights);
    Tensor::from_dispatch(<Dispatch as NextTokenLossBackend>::next_token_loss(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
        row_weights.into_dispatch(),
    ))
}

/// [`next_token_loss`] of tensors without autodiff, and its float32 gradients by `hidden` and, if it is `wanted`, by
/// `weight`. Other than with autodiff, the gradient of the weight exists once.
///
/// # Panics
/// As [`next_token_loss`].
pub fn next_token_loss_gradients(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    row_weights: Tensor<1>,
    wanted: bool,
) -> (Tensor<1>, Tensor<2>, Option<Tensor<2>>) {
    check(&hidden, &weight, &targets, &row_weights);
    let (loss, by_hidden, by_weight) =
        <Dispatch as NextTokenLossBackend>::next_token_loss_with_gradients(
            hidden.into_dispatch(),
            weight.into_dispatch(),
            targets.into_dispatch(),
            row_weights.into_dispatch(),
            [true, wanted],
        );
    (
        Tensor::from_dispatch(loss),
        Tensor::from_dispatch(by_hidden),
        wanted.then(|| Tensor::from_dispatch(by_weight)),
    )
}

fn check(
    hidden: &Tensor<2>,
    weight: &Tensor<2>,
    targets: &Tensor<1, Int>,
    row_weights: &Tensor<1>,
) {
    let ([rows, width], [weight_width, _]) = (hidden.dims(), weight.dims());
    assert_eq!(width, weight_width, "hidden states and weight must agree");
    let narrower =
        hidden.dtype() == DType::F32 && matches!(weight.dtype(), DType::BF16 | DType::F16);
    assert!(
        narrower || hidden.dtype() == weight.dtype(),
        "dtypes of the loss's inputs: {:?} and {:?}",
        hidden.dtype(),
        weight.dtype()
    );
    assert_eq!(targets.dims(), [rows], "one target per row");
    assert_eq!(row_weights.dims(), [rows], "one weight per row");
}
