//! `adapter_config.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdapterRounding, AdapterSettings};
use crate::error::GptOssError;
use crate::json_file;

/// Name of the file.
pub(super) const FILE: &str = "adapter_config.json";

/// The version whose files are written.
const PEFT_VERSION: &str = "0.21.2";

/// The key of what this crate adds; PEFT and vLLM pass over it.
const STAMP: &str = "burn_qat";

/// Keys that decide what the factors mean; all others are passed over.
#[derive(Debug, Deserialize)]
struct ConfigFile {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
    #[serde(default)]
    burn_qat: Option<AdapterRounding>,
    #[serde(default)]
    target_parameters: Option<Vec<String>>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

/// What is read of the file.
pub(super) struct Config {
    pub settings: AdapterSettings,
    /// As the file has them.
    pub target_parameters: Vec<String>,
}

pub(super) fn read(dir: &Path) -> Result<Config, GptOssError> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Err(GptOssError::MissingFile {
            path,
            hint: "give the directory that PEFT saved an adapter to".into(),
        });
    }
    let text = json_file::read_text(&path)?;
    let file: ConfigFile = json_file::parse(&text, &path)?;
    check(&file, &path)?;
    Ok(Config {
        settings: AdapterSettings {
            rank: file.r,
            alpha: file.lora_alpha,
            use_rslora: file.use_rslora,
            dropout: file.lora_dropout,
            base_model: file.base_model_name_or_path.unwrap_or_default(),
            rounding: file.burn_qat,
        },
        target_parameters: file.target_parameters.unwrap_or_default(),
    })
}

fn check(file: &ConfigFile, path: &Path) -> Result<(), GptOssError> {
    let refuse = |key: &str, found: String, expected: &str| GptOssError::Adapter {
        path: path.to_path_buf(),
        key: key.into(),
        found,
        expected: expected.into(),
    };
    if file.peft_type != "LORA" {
        return Err(refuse(
            "peft_type",
            format!("{:?}", file.peft_type),
            "\"LORA\"",
        ));
    }
    if file.r == 0 {
        return Err(refuse("r", "0".into(), "1 or more"));
    }
    if !(file.lora_alpha > 0.0 && (file.lora_alpha as f32).is_finite()) {
        return Err(refuse(
            "lora_alpha",
            file.lora_alpha.to_string(),
            "a positive number",
        ));
    }
    if !(0.0..1.0).contains(&file.lora_dropout) {
        return Err(refuse(
            "lora_dropout",
            file.lora_dropout.to_string(),
            "from 0 to below 1",
        ));
    }
    let init = file.rest.get("init_lora_weights");
    let plain = |init: &Value| init.is_boolean() || init.as_str() == Some("gaussian");
    if let Some(init) = init.filter(|init| !plain(init)) {
        let expected =
            "true, false or \"gaussian\": others change the base, save the converted adapter";
        return Err(refuse("init_lora_weights", init.to_string(), expected));
    }
    // What changes the meaning of the factors. Absent, null, false, empty and "none" are the plain adapter.
    for key in [
        "use_dora",
        "lora_bias",
        "bias",
        "fan_in_fan_out",
        "alpha_pattern",
        "rank_pattern",
        "modules_to_save",
        "trainable_token_indices",
        "layer_replication",
        "alora_invocation_tokens",
        "use_bdlora",
        "use_qalora",
        "arrow_config",
        "kasa_config",
        "velora_config",
        "monteclora_config",
    ] {
        let plain = match file.rest.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::String(value)) => value == "none",
            Some(Value::Array(values)) => values.is_empty(),
            Some(Value::Object(values)) => values.is_empty(),
            Some(_) => false,
        };
        if !plain {
            let found = file.rest.get(key).map(Value::to_string).unwrap_or_default();
            return Err(refuse(key, found, "a plain LoRA adapter without it"));
        }
    }
    Ok(())
}

/// The file as PEFT writes it, every key of a LoRA configuration.
pub(super) fn write(
    settings: &AdapterSettings,
    target_modules: &[String],
    target_parameters: &[String],
) -> String {
    let alpha = match settings.alpha.fract() == 0.0 {
        true => json!(settings.alpha as i64),
        false => json!(settings.alpha),
    };
    let mut config = json!({
        "alora_invocation_tokens": null,
        "alpha_pattern": {},
        "arrow_config": null,
        "auto_mapping": null,
        "base_model_name_or_path": settings.base_model,
        "bias": "none",
        "corda_config": null,
        "ensure_weight_tying": false,
        "eva_config": null,
        "exclude_modules": null,
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "kasa_config": null,
        "layer_replication": null,
        "layers_pattern": null,
        "layers_to_transform": null,
        "loftq_config": {},
        "lora_alpha": alpha,
        "lora_bias": false,
        // PEFT refuses it beside parameters of experts, and it has no meaning after training.
        "lora_dropout": match target_parameters {
            [] => settings.dropout,
            _ => 0.0,
        },
        "lora_ga_config": null,
        "megatron_config": null,
        "megatron_core": "megatron.core",
        "modules_to_save": null,
        "monteclora_config": null,
        "peft_type": "LORA",
        "peft_version": PEFT_VERSION,
        "qalora_group_size": 16,
        "r": settings.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": target_modules,
        "target_parameters": match target_parameters {
            [] => Value::Null,
            parameters => json!(parameters),
        },
        "task_type": "CAUSAL_LM",
        "trainable_token_indices": null,
        "use_bdlora": null,
        "use_dora": false,
        "use_qalora": false,
        "use_rslora": settings.use_rslora,
        "velora_config": null,
    });
    if let (Some(rounding), Some(keys)) = (&settings.rounding, config.as_object_mut()) {
        keys.insert(STAMP.into(), json!(rounding));
    }
    format!("{config:#}\n")
}
