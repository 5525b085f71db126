//! Attention with one learned sink logit per query head, as one operation.

mod autodiff;
#[cfg(feature = "_cube")]
mod cube;
mod extension;
#[cfg(feature = "flex")]
mod flex;
#[cfg(all(feature = "_cube", feature = "fusion"))]
mod fusion;
mod visibility;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

pub use extension::{
    AttentionBackend, AttentionInputs, AttentionOptions, AttentionOutput, KeySegments,
};
pub use visibility::Visibility;

/// Grouped-query attention whose softmax has the sink of its head as an extra key without a value.
///
/// With scores `s_j = scale * q . k_j` over the keys visible to a query, the output is
/// `sum_j e^(s_j) v_j / (sum_j e^(s_j) + e^sink)`; a query that sees nothing gives zeros. Query head
/// `h` reads key head `h * kv_heads / heads`.
///
/// Scores never exist as a whole: the softmax runs over tiles of keys, and the backward pass computes
/// them again from the logarithm of each row's sum (FlashAttention-2, Dao 2023, section 3.1). Memory
/// grows with the length, time with the length times what is visible. Sums are `f32`.
///
/// # Shapes
/// - query, output: `[batch, len, heads, head_dim]`
/// - key, value: `[batch, keys, kv_heads, head_dim]`, dtype of the query
/// - sinks: `[heads]`
///
/// # Panics
/// If shapes do not fit each other, an axis has length 0, or queries lie behind the last key.
pub fn sink_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    sinks: Tensor<1>,
    visibility: &Visibility,
    scale: f64,
) -> Tensor<4> {
    check(&query, &key, &value, &sinks);
    let ([batch, len, ..], [_, keys, ..]) = (query.dims(), key.dims());
    visibility.check([batch, len, keys]);
    let inputs = AttentionInputs {
        query: query.into_dispatch(),
        key: key.into_dispatch(),
        value: value.into_dispatch(),
        sinks: sinks.into_dispatch(),
    };
    let options = visibility.options(scale);
    let segments = visibility.segments();
    let output = <Dispatch as AttentionBackend>::sink_attention(inputs, segments, options);
    Tensor::from_dispatch(output.output)
}

fn check(query: &Tensor<4>, key: &Tensor<4>, value: &Tensor<4>, sinks: &Tensor<1>) {
    let [batch, len, heads, dim] = query.dims();
    assert!(batch * len * heads * dim > 0, "queries without elements");
    let [key_batch, _, kv_heads, key_dim] = key.dims();
    assert_eq!(key.dims(), value.dims(), "one value per key");
    assert_eq!(
        [batch, dim],
        [key_batch, key_dim],
        "queries and keys must agree on batch and head_dim"
    );
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "{heads} query heads cannot share {kv_heads} key heads evenly"
    );
    assert_eq!(sinks.dims(), [heads], "one sink per query head");
}
