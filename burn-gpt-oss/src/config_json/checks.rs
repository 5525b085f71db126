//! Values that this crate does not support, by their keys.

use serde_json::Value;

use super::ConfigJson;
use crate::checkpoint::CheckpointForm;
use crate::config::LayerType;
use crate::error::GptOssError;

/// The method of llm-compressor and others.
const COMPRESSED_TENSORS: &str = "compressed-tensors";

impl ConfigJson {
    pub(super) fn check_fixed(&self) -> Result<(), GptOssError> {
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
        let known = || {
            let compressed = Value::from(COMPRESSED_TENSORS);
            CheckpointForm::quant_methods().chain([compressed])
        };
        let method = self
            .quantization_config
            .as_ref()
            .and_then(|config| config.get("quant_method"));
        match method {
            Some(method) if known().all(|known| known != *method) => {
                let mut known: Vec<_> = known().map(|method| method.to_string()).collect();
                known.dedup();
                Err(unsupported(
                    "quantization_config.quant_method",
                    &format!("{} or no quantization", known.join(", ")),
                    method,
                ))
            }
            Some(method) if method == "modelopt" => self.check_algorithm(),
            Some(method) if method == COMPRESSED_TENSORS => self.check_format(),
            _ => Ok(()),
        }
    }

    /// ModelOpt has one method for all of its formats.
    fn check_algorithm(&self) -> Result<(), GptOssError> {
        let config = self.quantization_config.as_ref();
        let found = config.and_then(|config| config.get("quant_algo"));
        match found.and_then(Value::as_str) {
            Some("W4A16_NVFP4" | "NVFP4") => Ok(()),
            _ => Err(unsupported(
                "quantization_config.quant_algo",
                "\"W4A16_NVFP4\" or \"NVFP4\"",
                found.unwrap_or(&Value::Null),
            )),
        }
    }

    /// compressed-tensors packs in many ways, also other bits.
    fn check_format(&self) -> Result<(), GptOssError> {
        let config = self.quantization_config.as_ref();
        let found = config.and_then(|config| config.get("format"));
        match found.and_then(Value::as_str) {
            Some("nvfp4-pack-quantized" | "mxfp4-pack-quantized") => Ok(()),
            _ => Err(unsupported(
                "quantization_config.format",
                "\"nvfp4-pack-quantized\" or \"mxfp4-pack-quantized\"",
                found.unwrap_or(&Value::Null),
            )),
        }
    }

    pub(super) fn check_numbers(&self) -> Result<(), GptOssError> {
        for (key, value) in [
            ("rms_norm_eps", self.rms_norm_eps),
            ("swiglu_limit", self.swiglu_limit),
            ("swiglu_alpha", self.swiglu_alpha),
        ] {
            value.map_or(Ok(()), |value| require_positive(key, value))?;
        }
        Ok(())
    }

    pub(super) fn check_sizes(
        &self,
        top_k: usize,
        layer_types: &[LayerType],
    ) -> Result<(), GptOssError> {
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

pub(super) fn require_positive(key: &str, value: f64) -> Result<(), GptOssError> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(unsupported(key, "a positive number", value)),
    }
}

pub(super) fn unsupported(key: &str, expected: &str, found: impl std::fmt::Display) -> GptOssError {
    GptOssError::Config {
        key: key.into(),
        expected: expected.into(),
        found: found.to_string(),
    }
}
