//! Keys of the model: those that llama.cpp reads for `gpt-oss` (`openai-moe.cpp`, `llama-model.cpp`) and those its own
//! converter writes (`conversion/gpt_oss.py`).

use super::value::GgufValue;
use crate::checkpoint::CheckpointReader;
use crate::config::{LayerType, alternating_layers};

/// `LLAMA_FTYPE_MOSTLY_MXFP4_MOE`.
const FILE_TYPE: u32 = 38;
const QUANTIZATION_VERSION: u32 = 2;

pub(super) type Keys = Vec<(String, GgufValue)>;

/// All keys but those of the tokenizer.
pub(super) fn of_model(source: &CheckpointReader, notes: &mut Vec<String>) -> Keys {
    let config = source.config();
    let name = source.dir().file_name().unwrap_or_default();
    let mut keys = vec![
        ("general.architecture".into(), GgufValue::text("gpt-oss")),
        ("general.type".into(), GgufValue::text("model")),
        (
            "general.name".into(),
            GgufValue::text(&name.to_string_lossy()),
        ),
        ("general.file_type".into(), GgufValue::U32(FILE_TYPE)),
        (
            "general.quantization_version".into(),
            GgufValue::U32(QUANTIZATION_VERSION),
        ),
    ];
    let mut add = |key: &str, value| keys.push((format!("gpt-oss.{key}"), value));
    for (key, number) in [
        ("block_count", config.num_hidden_layers),
        ("context_length", config.max_position_embeddings),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("expert_feed_forward_length", config.intermediate_size),
        ("expert_count", config.num_local_experts),
        ("expert_used_count", config.num_experts_per_tok),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        // Without these, llama.cpp divides the width by the number of heads.
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("attention.sliding_window", config.sliding_window),
        ("vocab_size", config.vocab_size),
        (
            "rope.scaling.original_context_length",
            config.rope.original_max_position_embeddings,
        ),
    ] {
        add(key, GgufValue::u32(number));
    }
    add("rope.scaling.type", GgufValue::text("yarn"));
    for (key, number) in [
        ("attention.layer_norm_rms_epsilon", config.rms_norm_eps),
        ("rope.freq_base", config.rope.theta),
        ("rope.scaling.factor", config.rope.factor),
        ("rope.scaling.yarn_beta_fast", config.rope.beta_fast),
        ("rope.scaling.yarn_beta_slow", config.rope.beta_slow),
    ] {
        add(key, GgufValue::F32(number as f32));
    }
    notes.extend(differences(source));
    keys
}

/// What llama.cpp computes otherwise than this model says.
fn differences(source: &CheckpointReader) -> Vec<String> {
    let config = source.config();
    let mut notes = Vec::new();
    if !config.rope.truncate {
        notes.push(
            "llama.cpp rounds the bounds of YaRN to whole dimensions (`truncate: true`), this model does not: logits \
             differ slightly"
                .into(),
        );
    }
    if config.rope.beta_fast != 32.0 || config.rope.beta_slow != 1.0 {
        notes.push("llama.cpp takes beta_fast 32 and beta_slow 1 for this architecture, whatever the file says".into());
    }
    if config.layer_types != alternating_layers(config.num_hidden_layers) {
        let slides = |kind: &LayerType| *kind == LayerType::SlidingAttention;
        let sliding = config
            .layer_types
            .iter()
            .filter(|kind| slides(kind))
            .count();
        notes.push(format!(
            "llama.cpp lets every even layer slide; in this model {sliding} of {} do: it computes another model",
            config.num_hidden_layers
        ));
    }
    if config.swiglu_limit != 7.0 {
        notes.push(format!(
            "llama.cpp clamps at 7, this model at {}: it computes another model",
            config.swiglu_limit
        ));
    }
    notes
}
