//! The shape of config.json and the checks on it.

pub(crate) mod rope;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::GptOssError;
use crate::config::{GptOssConfig, LayerType, RopeConfig, alternating_layers};
use rope::{RopeContext, RopeJson};

/// Keys of config.json this crate reads. Absent optional keys take the published values.
#[derive(Deserialize)]
pub(crate) struct ConfigJson {
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
    pub(crate) fn into_config(
        self,
        document: Map<String, Value>,
    ) -> Result<GptOssConfig, GptOssError> {
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

    fn check_fixed(&self) -> Result<(), GptOssError> {
        let is = |found: &Option<String>, expected: &str| {
            found.as_deref().is_none_or(|found| found == expected)
        };
        if !is(&self.model_type, "gpt_oss") {
            return Err(unsupported(
                "model_type",
                "\"gpt_oss\"",
                format!("{:?}", self.model_type),
            ));
        }
        if !is(&self.hidden_act, "silu") {
            return Err(unsupported(
                "hidden_act",
                "\"silu\"",
                format!("{:?}", self.hidden_act),
            ));
        }
        if self.attention_bias == Some(false) {
            return Err(unsupported("attention_bias", "true", false));
        }
        if self.tie_word_embeddings == Some(true) {
            return Err(unsupported("tie_word_embeddings", "false", true));
        }
        if let Some(p) = self.attention_dropout.filter(|p| *p != 0.0) {
            return Err(unsupported("attention_dropout", "0.0", p));
        }
        let method = self
            .quantization_config
            .as_ref()
            .and_then(|config| config.get("quant_method"));
        match method {
            Some(method) if method != "mxfp4" => Err(unsupported(
                "quantization_config.quant_method",
                "\"mxfp4\" or no quantization",
                method,
            )),
            _ => Ok(()),
        }
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

    fn check_numbers(&self) -> Result<(), GptOssError> {
        for (key, value) in [
            ("rms_norm_eps", self.rms_norm_eps),
            ("swiglu_limit", self.swiglu_limit),
            ("swiglu_alpha", self.swiglu_alpha),
        ] {
            value.map_or(Ok(()), |value| require_positive(key, value))?;
        }
        Ok(())
    }

    fn check_sizes(&self, top_k: usize, layer_types: &[LayerType]) -> Result<(), GptOssError> {
        for (key, size) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("num_local_experts", self.num_local_experts),
            ("sliding_window", self.sliding_window),
        ] {
            // Larger sizes would overflow the products below; no published model comes near.
            if size == 0 || size > 1 << 24 {
                return Err(unsupported(key, "a positive number below 2^24", size));
            }
        }
        if self.num_hidden_layers > 4096 {
            return Err(unsupported(
                "num_hidden_layers",
                "at most 4096",
                self.num_hidden_layers,
            ));
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) || self.head_dim > 1 << 16 {
            return Err(unsupported(
                "head_dim",
                "a positive even number",
                self.head_dim,
            ));
        }
        if !self
            .num_attention_heads
            .is_multiple_of(self.num_key_value_heads)
        {
            let expected = format!(
                "a divisor of num_attention_heads = {}",
                self.num_attention_heads
            );
            return Err(unsupported(
                "num_key_value_heads",
                &expected,
                self.num_key_value_heads,
            ));
        }
        if top_k == 0 || top_k > self.num_local_experts {
            let expected = format!("1 to num_local_experts = {}", self.num_local_experts);
            return Err(unsupported("num_experts_per_tok", &expected, top_k));
        }
        if layer_types.len() != self.num_hidden_layers {
            let expected = format!("num_hidden_layers = {} entries", self.num_hidden_layers);
            return Err(unsupported(
                "layer_types",
                &expected,
                format!("{} entries", layer_types.len()),
            ));
        }
        Ok(())
    }
}

/// `eos_token_id` is a number or, in some files, a list of them.
fn first_id(value: &Value) -> Option<u32> {
    let id = value.as_array().map_or(Some(value), |list| list.first())?;
    id.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn require_positive(key: &str, value: f64) -> Result<(), GptOssError> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(unsupported(key, "a positive number", value)),
    }
}

fn unsupported(key: &str, expected: &str, found: impl std::fmt::Display) -> GptOssError {
    GptOssError::Config {
        key: key.into(),
        expected: expected.into(),
        found: found.to_string(),
    }
}
