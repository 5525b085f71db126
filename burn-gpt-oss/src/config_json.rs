//! The shape of config.json and the checks on it.

mod checks;
mod original;
mod rope;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::config::{GptOssConfig, LayerType, RopeConfig, alternating_layers};
use crate::error::GptOssError;
use crate::json_file::{parse, read_text};
use checks::unsupported;
use rope::{RopeContext, RopeJson};

pub(crate) use original::to_original_json;

impl GptOssConfig {
    /// Reads `config.json` of a checkpoint directory.
    ///
    /// # Errors
    /// A missing or malformed file, and every unsupported value, named by its key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, GptOssError> {
        let path = path.as_ref();
        if !path.exists() {
            return Err(GptOssError::MissingFile {
                path: path.to_path_buf(),
                hint: "a checkpoint directory holds config.json beside its safetensors files"
                    .into(),
            });
        }
        Self::from_json_named(&read_text(path)?, path)
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_json(text: &str) -> Result<Self, GptOssError> {
        Self::from_json_named(text, Path::new("config.json"))
    }

    fn from_json_named(text: &str, path: &Path) -> Result<Self, GptOssError> {
        let document = parse::<Map<String, Value>>(text, path)?;
        if original::is_original(&document) {
            return original::config(text, path);
        }
        let json = parse::<ConfigJson>(text, path)?;
        json.into_config(document)
    }

    /// The document for `config.json`, in the published field set, unknown keys kept.
    pub fn to_json(&self) -> Value {
        let mut doc = self.document.clone();
        let mut set = |key: &str, value: Value| doc.insert(key.to_string(), value);
        set("architectures", json!(["GptOssForCausalLM"]));
        set("attention_bias", json!(true));
        set("attention_dropout", json!(0.0));
        set("experts_per_token", json!(self.num_experts_per_tok));
        set("head_dim", json!(self.head_dim));
        set("hidden_act", json!("silu"));
        set("hidden_size", json!(self.hidden_size));
        set(
            "initial_context_length",
            json!(self.rope.original_max_position_embeddings),
        );
        set("initializer_range", json!(self.initializer_range));
        set("intermediate_size", json!(self.intermediate_size));
        set("layer_types", json!(self.layer_types));
        set(
            "max_position_embeddings",
            json!(self.max_position_embeddings),
        );
        set("model_type", json!("gpt_oss"));
        set("num_attention_heads", json!(self.num_attention_heads));
        set("num_experts_per_tok", json!(self.num_experts_per_tok));
        set("num_hidden_layers", json!(self.num_hidden_layers));
        set("num_key_value_heads", json!(self.num_key_value_heads));
        set("num_local_experts", json!(self.num_local_experts));
        set("output_router_logits", json!(self.output_router_logits));
        set("rms_norm_eps", json!(self.rms_norm_eps));
        set("router_aux_loss_coef", json!(self.router_aux_loss_coef));
        set("sliding_window", json!(self.sliding_window));
        set("swiglu_limit", json!(self.swiglu_limit));
        set("tie_word_embeddings", json!(false));
        set("use_cache", json!(true));
        set("vocab_size", json!(self.vocab_size));
        // Lists and nulls in these places are kept as found; only known ids are written.
        if let Some(id) = self.pad_token_id {
            set("pad_token_id", json!(id));
        }
        if let Some(id) = self.eos_token_id
            && !self
                .document
                .get("eos_token_id")
                .is_some_and(Value::is_array)
        {
            set("eos_token_id", json!(id));
        }
        rope::write(&self.rope, &mut doc);
        match &self.quantization_config {
            Some(value) => doc.insert("quantization_config".into(), value.clone()),
            None => doc.remove("quantization_config"),
        };
        Value::Object(doc)
    }
}

/// Keys of config.json this crate reads. Absent optional keys take the published values.
#[derive(Deserialize)]
struct ConfigJson {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    num_local_experts: usize,
    num_experts_per_tok: Option<usize>,
    experts_per_token: Option<usize>,
    sliding_window: usize,
    layer_types: Option<Vec<LayerType>>,
    max_position_embeddings: usize,
    original_max_position_embeddings: Option<usize>,
    partial_rotary_factor: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeJson>,
    rope_parameters: Option<RopeJson>,
    rms_norm_eps: Option<f64>,
    swiglu_limit: Option<f64>,
    swiglu_alpha: Option<f64>,
    router_aux_loss_coef: Option<f64>,
    output_router_logits: Option<bool>,
    initializer_range: Option<f64>,
    pad_token_id: Option<u32>,
    eos_token_id: Option<Value>,
    quantization_config: Option<Value>,
    model_type: Option<String>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    attention_dropout: Option<f64>,
    tie_word_embeddings: Option<bool>,
}

impl ConfigJson {
    fn into_config(self, document: Map<String, Value>) -> Result<GptOssConfig, GptOssError> {
        self.check_fixed()?;
        self.check_numbers()?;
        let rope = self.rope()?;
        let top_k = match (self.num_experts_per_tok, self.experts_per_token) {
            (Some(a), Some(b)) if a != b => {
                return Err(unsupported(
                    "experts_per_token",
                    "the value of num_experts_per_tok",
                    b,
                ));
            }
            (Some(k), _) | (None, Some(k)) => k,
            (None, None) => 4,
        };
        let layer_types = self
            .layer_types
            .clone()
            .unwrap_or_else(|| alternating_layers(self.num_hidden_layers));
        self.check_sizes(top_k, &layer_types)?;
        Ok(GptOssConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
            num_local_experts: self.num_local_experts,
            num_experts_per_tok: top_k,
            sliding_window: self.sliding_window,
            layer_types,
            max_position_embeddings: self.max_position_embeddings,
            rope,
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-5),
            swiglu_limit: self.swiglu_limit.unwrap_or(7.0),
            swiglu_alpha: self.swiglu_alpha.unwrap_or(1.702),
            router_aux_loss_coef: self.router_aux_loss_coef.unwrap_or(0.9),
            output_router_logits: self.output_router_logits.unwrap_or(false),
            initializer_range: self.initializer_range.unwrap_or(0.02),
            pad_token_id: self.pad_token_id,
            eos_token_id: self.eos_token_id.as_ref().and_then(first_id),
            quantization_config: self.quantization_config.filter(|value| !value.is_null()),
            document,
        })
    }

    fn rope(&self) -> Result<RopeConfig, GptOssError> {
        let (parameters, scaling) = (self.rope_parameters.as_ref(), self.rope_scaling.as_ref());
        let (key, json) = RopeJson::one_of(parameters, scaling, self.rope_theta)?;
        let context = RopeContext {
            rope_theta: self.rope_theta,
            max_position_embeddings: self.max_position_embeddings,
            original_max_position_embeddings: self.original_max_position_embeddings,
            partial_rotary_factor: self.partial_rotary_factor,
        };
        json.config(key, &context)
    }
}

/// `eos_token_id` is a number or, in some files, a list of them.
fn first_id(value: &Value) -> Option<u32> {
    let id = value.as_array().map_or(Some(value), |list| list.first())?;
    id.as_u64().and_then(|id| u32::try_from(id).ok())
}
