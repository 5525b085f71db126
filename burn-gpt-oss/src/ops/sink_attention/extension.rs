//! The backend trait.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, backend_extension};

#[cfg(all(feature = "_cube", feature = "fusion"))]
use super::fusion;

/// Inputs of [`sink_attention`](crate::ops::sink_attention), and their gradients.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub struct AttentionInputs<B: Backend> {
    /// `[batch, len, heads, head_dim]`
    pub query: FloatTensor<B>,
    /// `[batch, keys, kv_heads, head_dim]`
    pub key: FloatTensor<B>,
    /// `[batch, keys, kv_heads, head_dim]`
    pub value: FloatTensor<B>,
    /// `[heads]`
    pub sinks: FloatTensor<B>,
}

/// What the forward pass leaves for the backward pass.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub struct AttentionOutput<B: Backend> {
    /// `[batch, len, heads, head_dim]`, dtype of the query.
    pub output: FloatTensor<B>,
    /// Logarithm of each row's sum of exponentials, the sink's included: f32 `[batch, len, heads]`.
    /// Not differentiable.
    pub log_sum_exp: FloatTensor<B>,
}

/// Documents and padding in one number per key.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub enum KeySegments<B: Backend> {
    /// One document without padding.
    One,
    /// Any number of documents.
    Numbered {
        /// Any integers `[batch, keys]`: the document's number, not negative, for a real key and
        /// `-1 - number` for a padded one. A query sees the keys whose value is the number of the
        /// document at its own position.
        numbers: IntTensor<B>,
    },
}

/// The rest of what decides about scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionOptions {
    /// Factor on the products of queries and keys.
    pub scale: f32,
    /// Keys this many positions before the query and more are hidden.
    pub window: Option<usize>,
    /// Position of the first query among the keys.
    pub first_query: usize,
}

/// Backends that have attention with sinks.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait AttentionBackend: Backend {
    /// See [`sink_attention`](crate::ops::sink_attention).
    #[fusion(meta = fusion::forward)]
    fn sink_attention(
        #[extension_type] inputs: AttentionInputs<Self>,
        #[extension_type] segments: KeySegments<Self>,
        options: AttentionOptions,
    ) -> AttentionOutput<Self>;

    /// Gradients of all inputs, with their shapes and dtypes; not differentiable itself.
    ///
    /// # Shapes
    /// - grad: that of `output.output`
    #[fusion(meta = fusion::backward)]
    fn sink_attention_backward(
        grad: FloatTensor<Self>,
        #[extension_type] inputs: AttentionInputs<Self>,
        #[extension_type] output: AttentionOutput<Self>,
        #[extension_type] segments: KeySegments<Self>,
        options: AttentionOptions,
    ) -> AttentionInputs<Self>;
}
