use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use crate::config::GptOssConfig;
use crate::kv_cache::{CachedStep, LayerCache};
use crate::ops::{Visibility, sink_attention};
use crate::projection::project;
use crate::rope::RopeTables;

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
    /// - output: `[batch, len, hidden_size]`
    pub fn forward(&self, x: Tensor<3>, rope: &RopeTables, visibility: &Visibility) -> Tensor<3> {
        let [query, key, value] = self.projected(x, rope);
        self.mixed(query, key, value, visibility)
    }

    /// Attends to all tokens of each sequence that the cache has seen, and to those of this step, which
    /// it sees here.
    ///
    /// # Shapes
    /// - x: `[batch, len, hidden_size]`
    /// - output: `[batch, len, hidden_size]`
    pub(crate) fn forward_cached(
        &self,
        x: Tensor<3>,
        cache: &mut LayerCache,
        step: &mut CachedStep<'_>,
    ) -> Tensor<3> {
        let [query, key, value] = self.projected(x, &step.rope);
        let attended = cache.append(step.columns, key, value);
        let visibility = step.visibility(&attended);
        self.mixed(query, attended.key, attended.value, &visibility)
    }

    /// Query, key and value `[batch, len, heads, head_dim]`, the first two rotated.
    fn projected(&self, x: Tensor<3>, rope: &RopeTables) -> [Tensor<4>; 3] {
        let [batch, len, _] = x.dims();
        let (kv_heads, dim) = (self.num_key_value_heads, self.head_dim);
        let heads = self.sinks.dims()[0];
        let split = |projected: Tensor<3>, heads| projected.reshape([batch, len, heads, dim]);
        let query = rope.rotate(split(project(&self.q_proj, x.clone()), heads));
        let key = rope.rotate(split(project(&self.k_proj, x.clone()), kv_heads));
        let value = split(project(&self.v_proj, x), kv_heads);
        [query, key, value]
    }

    fn mixed(
        &self,
        query: Tensor<4>,
        key: Tensor<4>,
        value: Tensor<4>,
        visibility: &Visibility,
    ) -> Tensor<3> {
        let [batch, len, heads, dim] = query.dims();
        let scale = (dim as f64).powf(-0.5);
        let mixed = sink_attention(query, key, value, self.sinks.val(), visibility, scale);
        project(&self.o_proj, mixed.reshape([batch, len, heads * dim]))
    }
}
