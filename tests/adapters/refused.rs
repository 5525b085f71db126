//! Adapters that cannot be used: what the error names.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_fp4::Fp4Scheme;
use burn_gpt_oss::{AdapterCheckpoint, AdapterDialect, GptOssConfig, GptOssError};
use burn_qat_train::{
    LoraConfig, QuantPolicy, StageRun, TokenizedExample, TrainConfig, insert_quantizers,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::adapted;
use crate::files::{RawTensors, read_tensors, write_tensors};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

struct Saved {
    _temporary: TempDir,
    dir: PathBuf,
    config: GptOssConfig,
}

fn saved() -> Saved {
    let lora = LoraConfig {
        rank: 2,
        ..LoraConfig::default()
    };
    let model = adapted(&lora, &Device::flex());
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("adapter");
    let checkpoint = AdapterCheckpoint::of(&model, lora.settings("base")).unwrap();
    checkpoint
        .save(&dir, model.config(), AdapterDialect::Peft, false)
        .unwrap();
    Saved {
        _temporary: temporary,
        dir,
        config: model.config().clone(),
    }
}

impl Saved {
    fn error(&self) -> GptOssError {
        AdapterCheckpoint::open(&self.dir, &self.config).unwrap_err()
    }

    /// Changes a key of the configuration and returns the error that follows.
    fn with_key(&self, key: &str, value: Value) -> String {
        let path = self.dir.join(CONFIG);
        let before = fs::read_to_string(&path).unwrap();
        let mut json: Value = serde_json::from_str(&before).unwrap();
        json[key] = value;
        fs::write(&path, json.to_string()).unwrap();
        let error = self.error().to_string();
        fs::write(&path, before).unwrap();
        error
    }

    /// Changes the tensors and returns the error that follows.
    fn with_tensors(&self, change: impl FnOnce(&mut RawTensors)) -> String {
        let path = self.dir.join(WEIGHTS);
        let mut tensors = read_tensors(&path);
        change(&mut tensors);
        write_tensors(&path, &tensors);
        self.error().to_string()
    }
}

fn contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message}: no `{part}`");
    }
}

#[test]
fn kinds_of_adapters_that_are_not_plain() {
    let saved = saved();
    contains(
        &saved.with_key("peft_type", json!("IA3")),
        &[CONFIG, "`peft_type` is \"IA3\""],
    );
    contains(
        &saved.with_key("use_dora", json!(true)),
        &[CONFIG, "`use_dora` is true"],
    );
    contains(
        &saved.with_key("bias", json!("all")),
        &["`bias` is \"all\""],
    );
    contains(
        &saved.with_key("alpha_pattern", json!({"q_proj": 4})),
        &["`alpha_pattern`"],
    );
    contains(
        &saved.with_key("modules_to_save", json!(["lm_head"])),
        &["`modules_to_save`"],
    );
    contains(&saved.with_key("r", json!(0)), &["`r` is 0"]);
    contains(
        &saved.with_key("lora_alpha", json!(-1)),
        &["`lora_alpha` is -1"],
    );
    contains(
        &saved.with_key("lora_dropout", json!(1.5)),
        &["`lora_dropout` is 1.5"],
    );
    contains(&saved.with_key("r", json!("eight")), &[CONFIG, "`r`"]);
    contains(
        &saved.with_key("init_lora_weights", json!("pissa")),
        &["`init_lora_weights` is \"pissa\""],
    );
    contains(
        &saved.with_key("lora_alpha", json!(1e300)),
        &["`lora_alpha`"],
    );
    // More ranks than any tensor has.
    contains(&saved.with_key("r", json!(1u64 << 61)), &["shape"]);
}

#[test]
fn files_that_are_missing_or_damaged() {
    let saved = saved();
    let weights = saved.dir.join(WEIGHTS);
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    contains(&saved.error().to_string(), &[WEIGHTS, "truncated"]);
    fs::remove_file(&weights).unwrap();
    contains(&saved.error().to_string(), &[WEIGHTS, "not found"]);
    fs::remove_file(saved.dir.join(CONFIG)).unwrap();
    contains(&saved.error().to_string(), &[CONFIG, "not found"]);
}

#[test]
fn tensors_of_another_model() {
    const A: &str = "base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight";
    let narrower = saved().with_tensors(|tensors| {
        let raw = tensors.get_mut(A).unwrap();
        raw.shape[1] /= 2;
        raw.bytes.truncate(raw.bytes.len() / 2);
    });
    contains(&narrower, &[WEIGHTS, A, "[2, 32]", "[2, 64]"]);
    let without = saved().with_tensors(|tensors| {
        tensors.remove(A);
    });
    contains(&without, &[A, "not found"]);
    let unknown = saved().with_tensors(|tensors| {
        let raw = tensors[A].clone();
        tensors.insert(
            "base_model.model.model.layers.9.self_attn.k_proj.lora_A.weight".into(),
            raw,
        );
    });
    contains(&unknown, &[WEIGHTS, "layers.9"]);
}

#[test]
fn factors_that_are_not_finite() {
    const A: &str = "base_model.model.model.layers.1.mlp.experts.lora_A.weight";
    let message = saved().with_tensors(|tensors| {
        let raw = tensors.get_mut(A).unwrap();
        raw.bytes[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    contains(&message, &["layers.1.mlp.experts.down_proj.lora.a", "NaN"]);

    let saved = saved();
    let mut checkpoint = AdapterCheckpoint::open(&saved.dir, &saved.config).unwrap();
    checkpoint.factors.values_mut().next().unwrap().b[3] = f32::INFINITY;
    let target = saved.dir.parent().unwrap().join("diverged");
    let error = checkpoint.save(&target, &saved.config, AdapterDialect::Peft, false);
    contains(
        &error.unwrap_err().to_string(),
        &["lora.b", "inf", "element 3"],
    );
    assert_nothing_beside(&saved.dir);
}

/// What is there is not replaced, and nothing is left of what could not be written.
#[test]
fn directories_with_content() {
    let saved = saved();
    let checkpoint = AdapterCheckpoint::open(&saved.dir, &saved.config).unwrap();
    let before = fs::read(saved.dir.join(WEIGHTS)).unwrap();
    let error = checkpoint.save(&saved.dir, &saved.config, AdapterDialect::Peft, false);
    assert!(matches!(error, Err(GptOssError::OutputExists { .. })));
    assert_eq!(fs::read(saved.dir.join(WEIGHTS)).unwrap(), before);
    checkpoint
        .save(&saved.dir, &saved.config, AdapterDialect::PerExpert, true)
        .unwrap();
    assert_ne!(fs::read(saved.dir.join(WEIGHTS)).unwrap(), before);
    assert_nothing_beside(&saved.dir);
}

fn assert_nothing_beside(dir: &Path) {
    let parent = dir.parent().unwrap();
    let names: Vec<_> = parent
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [dir.file_name().unwrap()]);
}

#[test]
fn models_of_another_shape() {
    let saved = saved();
    let checkpoint = AdapterCheckpoint::open(&saved.dir, &saved.config).unwrap();
    let smaller = GptOssConfig {
        num_hidden_layers: 1,
        layer_types: saved.config.layer_types[..1].to_vec(),
        ..saved.config.clone()
    };
    let error = checkpoint
        .attach(smaller.init(&Device::flex()))
        .unwrap_err()
        .to_string();
    contains(&error, &["layers.1."]);
}

#[test]
fn settings_of_another_adapter() {
    let lora = LoraConfig {
        rank: 2,
        ..LoraConfig::default()
    };
    let model = adapted(&lora, &Device::flex());
    let doubled = LoraConfig {
        alpha: 32.0,
        ..lora
    };
    let error = AdapterCheckpoint::of(&model, doubled.settings("")).unwrap_err();
    contains(&error.to_string(), &["scaling 8", "16"]);
}

#[test]
fn what_would_lose_or_round_the_factors() {
    let model = adapted(
        &LoraConfig {
            rank: 32,
            ..LoraConfig::default()
        },
        &Device::flex(),
    );
    let error = model.clone().pack_experts(&Fp4Scheme::mxfp4()).unwrap_err();
    contains(
        &error.to_string(),
        &["layers.0.mlp.experts.gate_up_proj", "adapter"],
    );
    let error = insert_quantizers(model, &QuantPolicy::mxfp4_mlp_weight_only()).unwrap_err();
    contains(&error.to_string(), &["lora.a", "round_adapters"]);
}

#[test]
fn dropout_in_layers_that_run_again() {
    let lora = LoraConfig {
        dropout: 0.1,
        ..LoraConfig::default()
    };
    let config = TrainConfig {
        recompute_layers: true,
        ..TrainConfig::default()
    };
    let example = TokenizedExample {
        tokens: (0..8).collect(),
        loss_mask: vec![true; 8],
        starts: Vec::new(),
    };
    let (dir, data) = (
        tempfile::tempdir().unwrap(),
        (vec![example.clone()], vec![example]),
    );
    let model = adapted(&lora, &Device::flex());
    let error = StageRun::new("LoRA", dir.path(), &config).train(model, data);
    contains(
        &error.unwrap_err().to_string(),
        &["`dropout`", "recomputed"],
    );
}
