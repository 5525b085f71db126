//! The JSON files beside the weights of a target.

use serde_json::{Value, json};

use super::ConvertTarget;
use super::work_directory::WorkDirectory;
use crate::checkpoint::write::{config_document, write_json};
use crate::checkpoint::{CheckpointForm, CheckpointReader};
use crate::config::alternating_layers;
use crate::config_json::to_original_json;
use crate::error::GptOssError;

/// Fails at what the configuration of a target cannot say.
pub(super) fn check(source: &CheckpointReader, target: ConvertTarget) -> Result<(), GptOssError> {
    let config = source.config();
    let implied = [
        (
            "max_position_embeddings",
            config.max_position_embeddings as f64
                == config.rope.factor * config.rope.original_max_position_embeddings as f64,
        ),
        (
            "layer_types",
            config.layer_types == alternating_layers(config.num_hidden_layers),
        ),
        ("rms_norm_eps", config.rms_norm_eps == 1e-5),
        ("swiglu_alpha", config.swiglu_alpha == 1.702),
        (
            "rope_scaling.attention_factor",
            config.rope.attention_factor.is_none(),
        ),
        ("rope_scaling.truncate", !config.rope.truncate),
    ];
    let implied = match target {
        ConvertTarget::Original => &implied[..],
        // It has keys for the others.
        ConvertTarget::Gguf => &implied[3..5],
        _ => &[],
    };
    let different = implied.iter().find(|(_, same)| !same);
    different.map_or(Ok(()), |(key, _)| {
        Err(GptOssError::Unsupported {
            what: format!(
                "another `{key}` than that of the published models in the form `{target}`"
            ),
            hint: "its files have no place for it; choose another form".into(),
        })
    })
}

/// Writes `config.json`, and what else the form needs.
pub(super) fn write(
    work: &WorkDirectory,
    source: &CheckpointReader,
    target: ConvertTarget,
    index: Option<Value>,
) -> Result<(), GptOssError> {
    let with_inputs = source.form().inputs().is_some();
    let form = match target.form() {
        CheckpointForm::Nvfp4 if with_inputs => CheckpointForm::Nvfp4W4A4,
        form => form,
    };
    let config = match target {
        ConvertTarget::Original => to_original_json(source.config()),
        ConvertTarget::CompressedMxfp4 | ConvertTarget::CompressedNvfp4 => {
            config_document(source.config(), Some(compressed_tensors(form)))
        }
        _ => config_document(source.config(), form.quantization_config()),
    };
    write_json(&work.path("config.json"), &config)?;
    if let Some(config) = form
        .hf_quant_config()
        .filter(|_| target == ConvertTarget::Nvfp4)
    {
        write_json(&work.path("hf_quant_config.json"), &config)?;
    }
    match index {
        Some(index) => write_json(&work.path("model.safetensors.index.json"), &index),
        None => Ok(()),
    }
}

/// The `quantization_config` of compressed-tensors 0.20, as its own `QuantizationConfig` writes it.
fn compressed_tensors(form: CheckpointForm) -> Value {
    let (format, group_size, scales, strategy) = match form {
        CheckpointForm::Mxfp4 => ("mxfp4-pack-quantized", 32, "torch.uint8", "group"),
        _ => (
            "nvfp4-pack-quantized",
            16,
            "torch.float8_e4m3fn",
            "tensor_group",
        ),
    };
    let weights = json!({
        "dynamic": false,
        "group_size": group_size,
        "num_bits": 4,
        "scale_dtype": scales,
        "strategy": strategy,
        "symmetric": true,
        "type": "float",
    });
    let inputs = (form == CheckpointForm::Nvfp4W4A4).then(|| {
        let mut inputs = weights.clone();
        inputs["dynamic"] = json!("local");
        inputs["observer"] = json!("static_minmax");
        inputs
    });
    json!({
        "config_groups": {
            "group_0": {
                "format": format,
                "input_activations": inputs,
                "output_activations": null,
                "targets": ["Linear"],
                "weights": weights,
            },
        },
        "format": format,
        "global_compression_ratio": null,
        "ignore": ["lm_head", "re:.*self_attn.*", "re:.*mlp.router$"],
        "kv_cache_scheme": null,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "version": "0.20.0",
    })
}
