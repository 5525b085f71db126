//! Rows of a table by their numbers.

mod autodiff;
#[cfg(feature = "_cube")]
pub(super) mod cube;
mod extension;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

pub use extension::EmbeddingBackend;

/// The rows `ids` of `weight`.
///
/// The gradient of a row of the weight is the sum of those of all its places in float32, in their order,
/// rounded once; rows without a place have zeros. Other than by Burn's `select`, it is computed in
/// parallel, and is the same in every run.
///
/// # Shapes
/// - weight: `[vocab_size, hidden_size]`
/// - ids: `[n]`
/// - output: `[n, hidden_size]`, dtype of `weight`
///
/// # Panics
/// If an id is not in the vocabulary. GPUs cannot tell and take the last row.
pub fn embedding(weight: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    let (weight, ids) = (weight.into_dispatch(), ids.into_dispatch());
    Tensor::from_dispatch(<Dispatch as EmbeddingBackend>::embedding_rows(weight, ids))
}

/// The gradient of the weight of [`embedding`], for the gradient of its output.
///
/// # Shapes
/// - grad: `[n, hidden_size]`
/// - ids: `[n]`
/// - output: `[vocab_size, hidden_size]`, dtype of `grad`
///
/// # Panics
/// As [`embedding`].
pub fn embedding_gradient(grad: Tensor<2>, ids: Tensor<1, Int>, vocab_size: usize) -> Tensor<2> {
    let (grad, ids) = (grad.into_dispatch(), ids.into_dispatch());
    let gradient = <Dispatch as EmbeddingBackend>::embedding_rows_gradient(grad, ids, vocab_size);
    Tensor::from_dispatch(gradient)
}
