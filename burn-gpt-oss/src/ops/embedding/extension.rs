use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

/// Backends with the embedding.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait EmbeddingBackend: Backend {
    /// See [`embedding`](crate::ops::embedding).
    #[fusion(dtype = weight, shape = burn::tensor::Shape::new([ids[0], weight[1]]))]
    fn embedding_rows(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;

    /// Gradient of the weight, not differentiable itself: `[n, hidden_size], [n] -> [vocab_size,
    /// hidden_size]`.
    #[fusion(dtype = grad, shape = burn::tensor::Shape::new([*vocab_size, grad[1]]))]
    fn embedding_rows_gradient(
        grad: FloatTensor<Self>,
        ids: IntTensor<Self>,
        vocab_size: usize,
    ) -> FloatTensor<Self>;
}
