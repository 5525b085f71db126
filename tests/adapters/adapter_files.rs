//! Files of adapters that other programs read, and files that they wrote.

use std::path::Path;

use burn::tensor::Device;
use burn_gpt_oss::{AdapterCheckpoint, AdapterDialect, AdapterRounding, Factors, GptOssConfig};
use burn_qat_train::LoraConfig;
use serde_json::Value;

use crate::adapted;
use crate::files::{Raw, read_tensors, write_tensors};

const WEIGHTS: &str = "adapter_model.safetensors";

/// Factors in which every number says where it belongs.
fn checkpoint(targets: &[&str], layers: Option<Vec<usize>>) -> (AdapterCheckpoint, GptOssConfig) {
    let lora = LoraConfig {
        rank: 3,
        targets: targets.iter().map(|target| (*target).into()).collect(),
        layers,
        ..LoraConfig::default()
    };
    let model = adapted(&lora, &Device::flex());
    let mut checkpoint = AdapterCheckpoint::of(&model, lora.settings("base")).unwrap();
    for (seed, factors) in checkpoint.factors.values_mut().enumerate() {
        let number = |i: usize| (i + 1000 * seed) as f32;
        (0..factors.b.len()).for_each(|i| factors.b[i] = number(i));
    }
    (checkpoint, model.config().clone())
}

fn save(checkpoint: &AdapterCheckpoint, config: &GptOssConfig, dir: &Path) -> Value {
    checkpoint
        .save(dir, config, AdapterDialect::Peft, false)
        .unwrap();
    let text = std::fs::read_to_string(dir.join("adapter_config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn all_kinds_of_weights_come_back() {
    let targets = [
        "*.q_proj.*",
        "*router*",
        "lm_head*",
        "embed*",
        "*.experts.*_proj",
    ];
    let (mut saved, config) = checkpoint(&targets, None);
    saved.settings.rounding = Some(AdapterRounding {
        scheme: "MXFP4 (Ceil)".into(),
        start_step: 17,
    });
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("adapter");
    let json = save(&saved, &config, &dir);
    assert_eq!(AdapterCheckpoint::open(&dir, &config).unwrap(), saved);
    let list = |key: &str| {
        json[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        list("target_modules"),
        ["embed_tokens", "lm_head", "q_proj"]
    );
    assert_eq!(
        list("target_parameters"),
        [
            "mlp.experts.down_proj",
            "mlp.experts.gate_up_proj",
            "mlp.router.weight"
        ]
    );
}

/// Names of some layers alone: `layers_to_transform` would leave the head out.
#[test]
fn some_layers_are_listed_one_by_one() {
    let (saved, config) = checkpoint(&["*.q_proj.*", "lm_head*"], Some(vec![1, 3]));
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("adapter");
    let json = save(&saved, &config, &dir);
    let expected = serde_json::json!(["lm_head", "1.self_attn.q_proj", "3.self_attn.q_proj"]);
    assert_eq!(json["target_modules"], expected);
    assert!(json["layers_to_transform"].is_null());
    assert_eq!(AdapterCheckpoint::open(&dir, &config).unwrap(), saved);
}

/// PEFT writes the weight itself beside an adapter of the head.
#[test]
fn weights_of_the_base_are_passed_over() {
    let (saved, config) = checkpoint(&["lm_head*"], None);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("adapter");
    save(&saved, &config, &dir);
    let mut tensors = read_tensors(&dir.join(WEIGHTS));
    let any = tensors.values().next().unwrap().clone();
    tensors.insert("base_model.model.lm_head.base_layer.weight".into(), any);
    write_tensors(&dir.join(WEIGHTS), &tensors);
    assert_eq!(AdapterCheckpoint::open(&dir, &config).unwrap(), saved);
}

/// PEFT nests a wrapper for each matrix: one alone has the names of the outer one, whichever it is.
#[test]
fn one_matrix_alone_is_told_by_its_sides() {
    for (target, name) in [
        ("*.down_proj", "down_proj"),
        ("*.gate_up_proj", "gate_up_proj"),
    ] {
        let (saved, config) = checkpoint(&[target], Some(vec![1]));
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("adapter");
        let json = save(&saved, &config, &dir);
        let tensors = read_tensors(&dir.join(WEIGHTS));
        let key = "base_model.model.model.layers.1.mlp.experts.lora_A.weight";
        assert!(tensors.contains_key(key), "{:?}", tensors.keys());
        assert_eq!(
            json["target_parameters"][0],
            format!("1.mlp.experts.{name}")
        );
        assert_eq!(AdapterCheckpoint::open(&dir, &config).unwrap(), saved);
    }
}

/// Other version pairs write the transposed delta.
#[test]
fn files_with_swapped_axes_are_read() {
    let (expected, config) = checkpoint(&["*.experts.*_proj"], None);
    let mut turned = expected.clone();
    for factors in turned.factors.values_mut() {
        *factors = transposed(factors);
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("adapter");
    save(&turned, &config, &dir);
    assert_eq!(AdapterCheckpoint::open(&dir, &config).unwrap(), expected);
}

/// Those of the transposed delta.
fn transposed(factors: &Factors) -> Factors {
    let [experts, d_input, d_output] = factors.shape;
    let turn = |values: &[f32], height: usize, width: usize| {
        let at = |i: usize| {
            let (expert, row, column) = (i / height / width, i / height % width, i % height);
            values[(expert * height + column) * width + row]
        };
        (0..values.len()).map(at).collect::<Vec<f32>>()
    };
    Factors {
        a: turn(&factors.b, factors.rank, d_output),
        b: turn(&factors.a, d_input, factors.rank),
        shape: [experts, d_output, d_input],
        rank: factors.rank,
    }
}

#[test]
fn every_expert_has_its_own_tensors_for_sglang() {
    let (saved, config) = checkpoint(&["*.experts.*_proj"], None);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("adapter");
    saved
        .save(&dir, &config, AdapterDialect::PerExpert, false)
        .unwrap();
    let tensors = read_tensors(&dir.join(WEIGHTS));
    let floats = |name: &str| {
        let Raw { shape, bytes, .. } =
            &tensors[&format!("base_model.model.model.layers.2.mlp.experts.{name}.weight")];
        let values = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect::<Vec<f32>>();
        (shape.clone(), values)
    };
    let factors = &saved.factors["layers.2.mlp.experts.gate_up_proj"];
    let [_, d_input, d_output] = factors.shape;
    let (expert, k, i, j) = (5, 2, 7, 11);
    let (gate_a, up_a) = (floats("5.gate_proj.lora_A"), floats("5.up_proj.lora_A"));
    assert_eq!(gate_a, up_a, "both see the same inputs");
    assert_eq!(gate_a.0, [3, d_input]);
    assert_eq!(
        gate_a.1[k * d_input + i],
        factors.a[(expert * d_input + i) * 3 + k]
    );
    // Gate and up are the even and the odd columns.
    for (name, column) in [
        ("5.gate_proj.lora_B", 2 * j),
        ("5.up_proj.lora_B", 2 * j + 1),
    ] {
        let (shape, b) = floats(name);
        assert_eq!(shape, [d_output / 2, 3]);
        assert_eq!(
            b[j * 3 + k],
            factors.b[(expert * 3 + k) * d_output + column]
        );
    }
}

#[test]
fn factors_in_16_bits_are_read() {
    let (saved, config) = checkpoint(&["*.q_proj.*"], None);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("adapter");
    save(&saved, &config, &dir);
    let mut tensors = read_tensors(&dir.join(WEIGHTS));
    for raw in tensors.values_mut() {
        let values = raw
            .bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b));
        let narrow = values.flat_map(|value| half::bf16::from_f32(value).to_le_bytes());
        (raw.bytes, raw.dtype) = (narrow.collect(), safetensors::Dtype::BF16);
    }
    write_tensors(&dir.join(WEIGHTS), &tensors);
    let read = AdapterCheckpoint::open(&dir, &config).unwrap();
    for (path, factors) in &saved.factors {
        let rounded = factors
            .a
            .iter()
            .map(|value| half::bf16::from_f32(*value).to_f32());
        assert!(read.factors[path].a.iter().copied().eq(rounded), "{path}");
    }
}
