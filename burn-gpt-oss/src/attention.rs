use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Bool, DType, Device, Int, Tensor};

use crate::config::{GptOssConfig, LayerType};
use crate::rope::RopeTables;

/// Scores of hidden keys; far below any real score, yet finite so that no `inf - inf` can arise.
const HIDDEN: f32 = -1e30;

/// Grouped-query attention with one learned sink logit per query head.
///
/// The sink joins each softmax as an extra key without a value: the weights of a row sum to less
/// than one, and a row whose keys are all hidden gives zeros.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[hidden_size, num_attention_heads * head_dim]`
    pub q_proj: Linear,
    /// `[hidden_size, num_key_value_heads * head_dim]`
    pub k_proj: Linear,
    /// `[hidden_size, num_key_value_heads * head_dim]`
    pub v_proj: Linear,
    /// `[num_attention_heads * head_dim, hidden_size]`
    pub o_proj: Linear,
    /// Sink logit per query head, `[num_attention_heads]`.
    pub sinks: Param<Tensor<1>>,
    num_key_value_heads: usize,
    head_dim: usize,
}

/// Which keys each query must not see, per kind of layer.
#[derive(Clone, Debug)]
pub struct AttentionMasks {
    /// `[batch or 1, 1, queries, keys]`, true = hidden.
    full: Tensor<4, Bool>,
    /// The same for sliding layers.
    sliding: Tensor<4, Bool>,
}

impl AttentionMasks {
    /// Masks of a batch of sequences.
    ///
    /// # Shapes
    /// - attention_mask: `[batch, len]`, true = a real token; left and right padding both work
    pub fn new(
        len: usize,
        sliding_window: usize,
        attention_mask: Option<Tensor<2, Bool>>,
        device: &Device,
    ) -> Self {
        let query = Tensor::<1, Int>::arange(0..len as i64, device).reshape([1, 1, len, 1]);
        let key = query.clone().swap_dims(2, 3);
        let distance = query - key;
        let future = distance.clone().lower_scalar(0);
        let distant = distance.greater_equal_scalar(sliding_window as i64);
        let mut full = future;
        if let Some(real) = attention_mask {
            let batch = real.dims()[0];
            let padding = real
                .bool_not()
                .reshape([batch, 1, 1, len])
                .expand([batch, 1, len, len]);
            full = full.expand([batch, 1, len, len]).bool_or(padding);
        }
        let sliding = full.clone().bool_or(distant.expand(full.dims()));
        Self { full, sliding }
    }

    /// The mask of one layer.
    pub fn of(&self, layer: LayerType) -> Tensor<4, Bool> {
        match layer {
            LayerType::FullAttention => self.full.clone(),
            LayerType::SlidingAttention => self.sliding.clone(),
        }
    }
}

impl Attention {
    /// Fresh weights.
    pub fn new(config: &GptOssConfig, device: &Device) -> Self {
        let init = Initializer::Normal {
            mean: 0.0,
            std: config.initializer_range,
        };
        let linear = |d_in, d_out| {
            LinearConfig::new(d_in, d_out)
                .with_initializer(init.clone())
                .init(device)
        };
        let query = config.num_attention_heads * config.head_dim;
        let key = config.num_key_value_heads * config.head_dim;
        Self {
            q_proj: linear(config.hidden_size, query),
            k_proj: linear(config.hidden_size, key),
            v_proj: linear(config.hidden_size, key),
            o_proj: linear(query, config.hidden_size),
            sinks: init.init([config.num_attention_heads], device),
            num_key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        }
    }

    /// Attends within each sequence.
    ///
    /// # Shapes
    /// - x: `[batch, len, hidden_size]`
    /// - hidden: `[batch or 1, 1, len, len]`, true = not visible
    /// - output: `[batch, len, hidden_size]`
    pub fn forward(&self, x: Tensor<3>, rope: &RopeTables, hidden: Tensor<4, Bool>) -> Tensor<3> {
        let [batch, len, _] = x.dims();
        let (kv_heads, dim) = (self.num_key_value_heads, self.head_dim);
        let heads = self.sinks.dims()[0];
        let split = |projected: Tensor<3>, heads| projected.reshape([batch, len, heads, dim]);
        let query = rope
            .rotate(split(self.q_proj.forward(x.clone()), heads))
            .swap_dims(1, 2);
        let key = rope
            .rotate(split(self.k_proj.forward(x.clone()), kv_heads))
            .swap_dims(1, 2);
        let value = split(self.v_proj.forward(x), kv_heads).swap_dims(1, 2);

        // The query heads of one group read the same keys, so they become rows of one product
        // instead of copies of the keys.
        let rows = heads / kv_heads * len;
        let query = query.reshape([batch, kv_heads, rows, dim]) * (dim as f64).powf(-0.5);
        let scores = query
            .matmul(key.swap_dims(2, 3))
            .reshape([batch, heads, len, len]);
        let weights = self
            .softmax_with_sink(scores.mask_fill(hidden.expand([batch, heads, len, len]), HIDDEN));
        let weights = weights.reshape([batch, kv_heads, rows, len]);
        let mixed = weights.matmul(value).reshape([batch, heads, len, dim]);
        self.o_proj
            .forward(mixed.swap_dims(1, 2).reshape([batch, len, heads * dim]))
    }

    /// Softmax over the keys and the sink, without the sink's column.
    ///
    /// # Shapes
    /// - scores: `[batch, heads, queries, keys]`
    fn softmax_with_sink(&self, scores: Tensor<4>) -> Tensor<4> {
        let dtype = scores.dtype();
        let scores = scores.cast(DType::F32);
        let [batch, heads, len, _] = scores.dims();
        let sink = self.sinks.val().cast(DType::F32).reshape([1, heads, 1, 1]);
        let sink = sink.expand([batch, heads, len, 1]);
        // Any shift leaves the softmax unchanged, so none of its gradient needs to be tracked.
        let shift = scores.clone().max_dim(3).max_pair(sink.clone()).detach();
        let weights = (scores - shift.clone()).exp();
        let total = weights.clone().sum_dim(3) + (sink - shift).exp();
        (weights / total).cast(dtype)
    }
}
