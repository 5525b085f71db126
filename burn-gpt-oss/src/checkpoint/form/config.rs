//! How a form is named in the JSON files beside the weights.

use serde_json::{Value, json};

use super::{CheckpointForm, NVFP4_BLOCK};

impl CheckpointForm {
    /// The `quantization_config` by which loaders know the form: that of the published checkpoints, or of ModelOpt.
    pub fn quantization_config(self) -> Option<Value> {
        match self {
            Self::Mxfp4 => Some(json!({
                "modules_to_not_convert": DENSE_MODULES,
                "quant_method": "mxfp4",
            })),
            Self::Nvfp4 | Self::Nvfp4W4A4 => {
                let number = json!({"dynamic": false, "num_bits": 4, "type": "float", "group_size": NVFP4_BLOCK});
                let mut group = json!({"weights": number, "targets": ["Linear"]});
                if self == Self::Nvfp4W4A4 {
                    group["input_activations"] = number;
                }
                Some(json!({
                    "config_groups": {"group_0": group},
                    "ignore": DENSE_MODULES,
                    "quant_algo": self.quant_algo(),
                    "producer": producer(),
                    "quant_method": "modelopt",
                }))
            }
            Self::Bf16 => None,
        }
    }

    /// The `hf_quant_config.json` that ModelOpt writes beside `config.json`, for loaders that read it in place of
    /// [`quantization_config`](Self::quantization_config).
    pub(in crate::checkpoint) fn hf_quant_config(self) -> Option<Value> {
        match self {
            Self::Nvfp4 | Self::Nvfp4W4A4 => Some(json!({
                "producer": producer(),
                "quantization": {
                    "quant_algo": self.quant_algo(),
                    "kv_cache_quant_algo": null,
                    "group_size": NVFP4_BLOCK,
                    "exclude_modules": DENSE_MODULES,
                },
            })),
            Self::Mxfp4 | Self::Bf16 => None,
        }
    }

    /// ModelOpt's name of NVFP4 weights beside activations in NVFP4, or in 16 bits.
    fn quant_algo(self) -> &'static str {
        match self {
            Self::Nvfp4W4A4 => "NVFP4",
            _ => "W4A16_NVFP4",
        }
    }
}

/// What no form quantizes.
const DENSE_MODULES: [&str; 4] = [
    "model.layers.*.self_attn",
    "model.layers.*.mlp.router",
    "model.embed_tokens",
    "lm_head",
];

fn producer() -> Value {
    json!({"name": "burn-qat", "version": env!("CARGO_PKG_VERSION")})
}
