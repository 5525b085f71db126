//! Faults that only some engines notice, and models that are no equals.

use burn_gpt_oss::{ConvertTarget, Engine, Severity, Verdict, validate_checkpoint};

use crate::files::{RawTensors, WEIGHTS, copy_of, edit_json, edit_tensors};
use crate::{converted, golden};

use Verdict::{Loads, Noise, Refuses};

const SINGLE: &str = "tiny-gpt-oss";

fn edited(edit: impl FnOnce(&mut RawTensors)) -> burn_gpt_oss::ValidationReport {
    let copy = copy_of(SINGLE);
    edit_tensors(&copy.path().join(WEIGHTS), edit);
    validate_checkpoint(copy.path(), None, |_| {}).unwrap()
}

fn with_config(edit: impl FnOnce(&mut serde_json::Value)) -> burn_gpt_oss::ValidationReport {
    let copy = copy_of(SINGLE);
    edit_json(&copy.path().join("config.json"), edit);
    validate_checkpoint(copy.path(), None, |_| {}).unwrap()
}

fn verdict(report: &burn_gpt_oss::ValidationReport, engine: Engine) -> Verdict {
    report.verdict(engine).unwrap().verdict
}

/// Fewer layers, other keys: equal weights are no equal models.
#[test]
fn another_architecture_is_not_equal() {
    let golden = golden::directory().join(SINGLE);
    let copy = copy_of(SINGLE);
    edit_json(&copy.path().join("config.json"), |config| {
        config["num_hidden_layers"] = 2.into();
        let types = config["layer_types"].as_array_mut();
        types.into_iter().for_each(|types| types.truncate(2));
    });
    edit_tensors(&copy.path().join(WEIGHTS), |tensors| {
        tensors.retain(|name, _| !name.contains("layers.2.") && !name.contains("layers.3."));
    });
    let report = validate_checkpoint(copy.path(), Some(&golden), |_| {}).unwrap();
    let comparison = report.comparison.as_ref().unwrap();
    assert_eq!(comparison.missing.len(), 34, "{comparison:?}");
    assert!(!report.is_sound());
    let copy = copy_of(SINGLE);
    edit_json(&copy.path().join("config.json"), |config| {
        config["num_experts_per_tok"] = 2.into();
        config["experts_per_token"] = 2.into();
    });
    let report = validate_checkpoint(copy.path(), Some(&golden), |_| {}).unwrap();
    assert_eq!(report.comparison.unwrap().keys, ["num_experts_per_tok"]);
    let (_temp, dir) = converted(copy.path(), ConvertTarget::Gguf);
    let report = validate_checkpoint(dir.join("model.gguf"), Some(&golden), |_| {}).unwrap();
    assert_eq!(
        report.comparison.unwrap().keys,
        ["gpt-oss.expert_used_count"]
    );
}

/// Codes times scales that no float32 holds.
#[test]
fn weights_that_overflow_are_found() {
    let report = edited(|tensors| {
        let scales = "model.layers.0.mlp.experts.down_proj_scales";
        tensors.get_mut(scales).unwrap().bytes[0] = 253;
        let blocks = "model.layers.0.mlp.experts.down_proj_blocks";
        tensors.get_mut(blocks).unwrap().bytes[0] = 0x77;
    });
    let mut errors = report
        .findings
        .iter()
        .filter(|found| found.severity == Severity::Error);
    let error = errors.next().expect("an error");
    assert!(error.message.contains("inf"), "{error:?}");
}

/// Codes of another matrix between codes and scales: llama.cpp's converter pairs scales with the codes it saw last.
#[test]
fn the_order_of_tensors_matters_to_one_engine() {
    assert_eq!(verdict(&edited(|_| {}), Engine::LlamaCpp), Loads);
    let copy = copy_of(SINGLE);
    let path = copy.path().join(WEIGHTS);
    let bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text = String::from_utf8(bytes[8..8 + header].to_vec()).unwrap();
    // Two matrices of the same shapes change their scales' places, in name only.
    let (a, b) = (
        "layers.0.mlp.experts.down_proj_scales",
        "layers.1.mlp.experts.down_proj_scales",
    );
    let swapped = text.replace(a, "@").replace(b, a).replace('@', b);
    assert_ne!(swapped, text);
    let padded = format!("{swapped:<header$}");
    let all = [&bytes[..8], padded.as_bytes(), &bytes[8 + header..]].concat();
    std::fs::write(&path, all).unwrap();
    let report = validate_checkpoint(copy.path(), None, |_| {}).unwrap();
    assert!(report.is_sound());
    assert_eq!(verdict(&report, Engine::LlamaCpp), Noise);
    assert_eq!(verdict(&report, Engine::Vllm), Loads);
}

#[test]
fn shapes_scales_and_rotations_are_part_of_the_verdicts() {
    let report = with_config(|config| config["vocab_size"] = 520.into());
    assert!(
        report
            .engines
            .iter()
            .all(|engine| engine.verdict == Refuses),
        "{report:?}"
    );
    let report = with_config(|config| {
        let rope = config["rope_scaling"].as_object_mut().unwrap();
        rope.remove("beta_fast");
    });
    assert_eq!(verdict(&report, Engine::Vllm), Refuses);
    let report = edited(|tensors| {
        let scales = "model.layers.0.mlp.experts.gate_up_proj_scales";
        tensors.remove(scales).unwrap();
    });
    assert_eq!(verdict(&report, Engine::TensorRtLlm), Refuses);
    assert_eq!(verdict(&report, Engine::Vllm), Noise);
}
