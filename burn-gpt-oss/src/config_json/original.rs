//! The `config.json` of OpenAI's `original/` folder, which has other keys.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ConfigJson;
use crate::config::{GptOssConfig, RopeConfig, alternating_layers};
use crate::error::GptOssError;
use crate::json_file::parse;

/// Its keys. What it does not say is as in the published models.
#[derive(Deserialize)]
struct OriginalJson {
    num_hidden_layers: usize,
    num_experts: usize,
    experts_per_token: usize,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    swiglu_limit: Option<f64>,
    head_dim: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    sliding_window: usize,
    initial_context_length: usize,
    rope_theta: f64,
    rope_scaling_factor: f64,
    rope_ntk_alpha: f64,
    rope_ntk_beta: f64,
}

/// Whether a document is such a file.
pub(super) fn is_original(document: &Map<String, Value>) -> bool {
    let has = |key: &str| document.contains_key(key);
    has("num_experts") && has("rope_ntk_beta") && !has("num_local_experts")
}

/// The architecture it describes. The checks are those of the other form.
pub(super) fn config(text: &str, path: &Path) -> Result<GptOssConfig, GptOssError> {
    let json: OriginalJson = parse(text, path)?;
    let published = GptOssConfig::gpt_oss_20b();
    let same_vocabulary = json.vocab_size == published.vocab_size;
    let token = |id: Option<u32>| id.filter(|_| same_vocabulary);
    let context = json.initial_context_length as f64 * json.rope_scaling_factor;
    let config = GptOssConfig {
        vocab_size: json.vocab_size,
        hidden_size: json.hidden_size,
        intermediate_size: json.intermediate_size,
        num_hidden_layers: json.num_hidden_layers,
        num_attention_heads: json.num_attention_heads,
        num_key_value_heads: json.num_key_value_heads,
        head_dim: json.head_dim,
        num_local_experts: json.num_experts,
        num_experts_per_tok: json.experts_per_token,
        sliding_window: json.sliding_window,
        // Its own program lets the even layers slide.
        layer_types: alternating_layers(json.num_hidden_layers.min(4096)),
        max_position_embeddings: context as usize,
        rope: RopeConfig {
            theta: json.rope_theta,
            factor: json.rope_scaling_factor,
            beta_fast: json.rope_ntk_beta,
            beta_slow: json.rope_ntk_alpha,
            original_max_position_embeddings: json.initial_context_length,
            ..published.rope
        },
        swiglu_limit: json.swiglu_limit.unwrap_or(published.swiglu_limit),
        pad_token_id: token(published.pad_token_id),
        eos_token_id: token(published.eos_token_id),
        document: Map::new(),
        ..GptOssConfig::gpt_oss_20b()
    };
    let checked: ConfigJson = parse(&config.to_json().to_string(), path)?;
    let document = config.document.clone();
    checked.into_config(document)
}

/// The keys of such a file.
pub(crate) fn to_original_json(config: &GptOssConfig) -> Value {
    serde_json::json!({
        "num_hidden_layers": config.num_hidden_layers,
        "num_experts": config.num_local_experts,
        "experts_per_token": config.num_experts_per_tok,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "swiglu_limit": config.swiglu_limit,
        "head_dim": config.head_dim,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "sliding_window": config.sliding_window,
        "initial_context_length": config.rope.original_max_position_embeddings,
        "rope_theta": config.rope.theta,
        "rope_scaling_factor": config.rope.factor,
        "rope_ntk_alpha": config.rope.beta_slow,
        "rope_ntk_beta": config.rope.beta_fast,
    })
}
