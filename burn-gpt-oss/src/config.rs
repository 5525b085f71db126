use serde_json::{Map, Value};

/// Kind of attention of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LayerType {
    /// Each token sees the last `sliding_window` tokens, itself included.
    #[serde(rename = "sliding_attention")]
    SlidingAttention,
    /// Each token sees all tokens before it and itself.
    #[serde(rename = "full_attention")]
    FullAttention,
}

/// YaRN rotary position embedding parameters (`rope_scaling`/`rope_theta`, or `rope_parameters`).
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// Ratio of the extended context to the original one.
    pub factor: f64,
    /// Rotations over the original context above which a dimension is left alone.
    pub beta_fast: f64,
    /// Rotations below which a dimension is fully interpolated.
    pub beta_slow: f64,
    /// Context length before the extension, in tokens.
    pub original_max_position_embeddings: usize,
    /// Whether the interpolation bounds are rounded to whole dimensions (false for gpt-oss).
    pub truncate: bool,
    /// The factor on cosine and sine; `None` is YaRN's `0.1 ln(factor) + 1`.
    pub attention_factor: Option<f64>,
}

/// Architecture of a gpt-oss model, as in the published config.json.
///
/// Keys this crate does not know are kept and written back by [`to_json`](Self::to_json).
#[derive(Clone, Debug, PartialEq)]
pub struct GptOssConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the hidden layer of each expert.
    pub intermediate_size: usize,
    /// Number of transformer blocks.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads.
    pub num_key_value_heads: usize,
    /// Width of one head; query width is `num_attention_heads * head_dim`, not `hidden_size`.
    pub head_dim: usize,
    /// Number of experts per block.
    pub num_local_experts: usize,
    /// Number of experts each token is routed to.
    pub num_experts_per_tok: usize,
    /// Number of tokens visible in sliding layers, the token itself included.
    pub sliding_window: usize,
    /// Kind of attention per block.
    pub layer_types: Vec<LayerType>,
    /// Longest supported sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Position embedding.
    pub rope: RopeConfig,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Clamp of the gate (above) and of the up projection (both sides).
    pub swiglu_limit: f64,
    /// Slope inside the sigmoid of the gate.
    pub swiglu_alpha: f64,
    /// Weight of the load-balancing loss when it is switched on.
    pub router_aux_loss_coef: f64,
    /// Whether training adds the load-balancing loss (false in the published files).
    pub output_router_logits: bool,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Padding token.
    pub pad_token_id: Option<u32>,
    /// End-of-sequence token.
    pub eos_token_id: Option<u32>,
    /// `quantization_config` as found in the file.
    pub quantization_config: Option<Value>,
    /// The document this configuration was read from; empty for presets.
    pub document: Map<String, Value>,
}

impl GptOssConfig {
    /// The published 20b model: 24 layers of 32 experts.
    pub fn gpt_oss_20b() -> Self {
        Self::published(24, 32)
    }

    /// The published 120b model: 36 layers of 128 experts.
    pub fn gpt_oss_120b() -> Self {
        Self::published(36, 128)
    }

    fn published(num_hidden_layers: usize, num_local_experts: usize) -> Self {
        Self {
            vocab_size: 201_088,
            hidden_size: 2880,
            intermediate_size: 2880,
            num_hidden_layers,
            num_attention_heads: 64,
            num_key_value_heads: 8,
            head_dim: 64,
            num_local_experts,
            num_experts_per_tok: 4,
            sliding_window: 128,
            layer_types: alternating_layers(num_hidden_layers),
            max_position_embeddings: 131_072,
            rope: RopeConfig {
                theta: 150_000.0,
                factor: 32.0,
                beta_fast: 32.0,
                beta_slow: 1.0,
                original_max_position_embeddings: 4096,
                truncate: false,
                attention_factor: None,
            },
            rms_norm_eps: 1e-5,
            swiglu_limit: 7.0,
            swiglu_alpha: 1.702,
            router_aux_loss_coef: 0.9,
            output_router_logits: false,
            initializer_range: 0.02,
            pad_token_id: Some(199_999),
            eos_token_id: Some(200_002),
            quantization_config: None,
            document: Map::new(),
        }
    }

    /// Number of parameters in the expert matrices (those stored in MXFP4), biases excluded.
    pub fn num_expert_weights(&self) -> u64 {
        let [layers, experts, hidden, inner] = [
            self.num_hidden_layers,
            self.num_local_experts,
            self.hidden_size,
            self.intermediate_size,
        ]
        .map(|n| n as u64);
        layers * experts * 3 * hidden * inner
    }

    /// Number of all other parameters: embeddings, attention, routers, norms, biases and sinks.
    pub fn num_dense_weights(&self) -> u64 {
        let [layers, experts, hidden, inner, vocab] = [
            self.num_hidden_layers,
            self.num_local_experts,
            self.hidden_size,
            self.intermediate_size,
            self.vocab_size,
        ]
        .map(|n| n as u64);
        let query = (self.num_attention_heads * self.head_dim) as u64;
        let key = (self.num_key_value_heads * self.head_dim) as u64;
        let attention = hidden * (query + 2 * key) + query + 2 * key + query * hidden + hidden;
        let sinks = self.num_attention_heads as u64;
        let router = experts * (hidden + 1);
        let expert_biases = experts * (2 * inner + hidden);
        layers * (attention + sinks + router + expert_biases + 2 * hidden)
            + hidden
            + 2 * vocab * hidden
    }
}

/// Sliding attention on even layers, full attention on odd ones, as published.
pub(crate) fn alternating_layers(n: usize) -> Vec<LayerType> {
    let kinds = [LayerType::SlidingAttention, LayerType::FullAttention];
    (0..n).map(|layer| kinds[layer % 2]).collect()
}
