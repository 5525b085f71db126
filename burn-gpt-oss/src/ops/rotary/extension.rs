#[cfg(feature = "flex")]
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

/// Backends with the rotary embedding.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait RotaryBackend: Backend {
    /// See [`rotary_embedding`](crate::ops::rotary_embedding).
    #[fusion(dtype = x, shape = x)]
    fn rotary_embedding(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "flex")]
impl RotaryBackend for Flex {
    fn rotary_embedding(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        super::flex::rotated(&x, &cos, &sin)
    }
}
