//! What validation says of sound and of broken checkpoints, and of what engines do with them.

use std::path::Path;

use burn_gpt_oss::{
    ConvertTarget, Engine, Severity, ValidationReport, Verdict, validate_checkpoint,
};
use safetensors::Dtype;

use crate::files::{RawTensors, WEIGHTS, copy_of, edit_json, edit_tensors};
use crate::{converted, golden};

use Engine::{LlamaCpp, Sglang, TensorRtLlm, Transformers, Vllm};
use Verdict::{Depends, Differs, Loads, Noise, Refuses};

const SINGLE: &str = "tiny-gpt-oss";

fn validate(path: &Path) -> ValidationReport {
    validate_checkpoint(path, None, |_| {}).unwrap()
}

/// The verdicts in the order of [`Engine::ALL`].
fn verdicts(report: &ValidationReport) -> Vec<Verdict> {
    report
        .engines
        .iter()
        .map(|verdict| verdict.verdict)
        .collect()
}

/// A copy of the golden model with other tensors.
fn edited(directory: &str, edit: impl FnOnce(&mut RawTensors)) -> ValidationReport {
    let copy = copy_of(directory);
    edit_tensors(&copy.path().join(WEIGHTS), edit);
    validate(copy.path())
}

fn errors(report: &ValidationReport) -> Vec<String> {
    let errors = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    errors
        .map(|finding| format!("{}: {}", finding.subject, finding.message))
        .collect()
}

#[test]
fn every_form_is_sound_and_has_its_verdicts() {
    let golden = golden::directory().join(SINGLE);
    for (target, expected) in [
        (ConvertTarget::Mxfp4, [Loads, Loads, Loads, Loads, Loads]),
        (ConvertTarget::Bf16, [Loads, Loads, Loads, Loads, Loads]),
        (
            ConvertTarget::Nvfp4,
            [Refuses, Noise, Depends, Refuses, Refuses],
        ),
        (
            ConvertTarget::CompressedMxfp4,
            [Refuses, Noise, Refuses, Noise, Refuses],
        ),
        (
            ConvertTarget::CompressedNvfp4,
            [Refuses, Noise, Refuses, Noise, Refuses],
        ),
        (
            ConvertTarget::Original,
            [Refuses, Noise, Depends, Noise, Refuses],
        ),
    ] {
        let (_temp, dir) = converted(&golden, target);
        let report = validate_checkpoint(&dir, Some(&golden), |_| {}).unwrap();
        assert!(report.is_sound(), "{target}: {:?}", report.findings);
        assert_eq!(
            verdicts(&report),
            expected,
            "{target}: {:#?}",
            report.engines
        );
        let comparison = report.comparison.unwrap();
        assert!(
            comparison.is_equal() && comparison.weights > 400_000,
            "{target}: {comparison:?}"
        );
    }
    let (_temp, dir) = converted(&golden, ConvertTarget::Gguf);
    let report = validate_checkpoint(dir.join("model.gguf"), Some(&golden), |_| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(verdicts(&report), [Loads]);
    assert!(report.comparison.unwrap().is_equal());
}

#[test]
fn one_changed_bit_is_found() {
    let golden = golden::directory().join(SINGLE);
    let tensor = "model.layers.2.mlp.experts.down_proj_blocks";
    let copy = copy_of(SINGLE);
    edit_tensors(&copy.path().join(WEIGHTS), |tensors| {
        tensors.get_mut(tensor).unwrap().bytes[999] ^= 1
    });
    let report = validate_checkpoint(copy.path(), Some(&golden), |_| {}).unwrap();
    let comparison = report.comparison.as_ref().unwrap();
    assert_eq!(comparison.different, 1, "{comparison:?}");
    assert_eq!(
        comparison.differing[0].parameter,
        "layers.2.mlp.experts.down_proj"
    );
    assert!(!report.is_sound());
    let (_temp, dir) = converted(copy.path(), ConvertTarget::Gguf);
    let report = validate_checkpoint(dir.join("model.gguf"), Some(&golden), |_| {}).unwrap();
    assert_eq!(report.comparison.unwrap().different, 1);
}

#[test]
fn what_is_wrong_with_weights_is_listed() {
    let blocks = "model.layers.0.mlp.experts.gate_up_proj_blocks";
    let scales = "model.layers.0.mlp.experts.gate_up_proj_scales";
    let report = edited(SINGLE, |tensors| {
        let raw = tensors.get_mut(blocks).unwrap();
        let expert = raw.bytes.len() / raw.shape[0];
        raw.bytes[3 * expert..4 * expert].fill(0x80);
        let raw = tensors.get_mut(scales).unwrap();
        (raw.bytes[7], raw.bytes[8], raw.bytes[9]) = (254, 254, 255);
    });
    assert_eq!(errors(&report).len(), 1, "{:?}", report.findings);
    assert!(errors(&report)[0].contains(scales) && errors(&report)[0].contains("1 block"));
    let mut matrices = report.content.as_ref().unwrap().matrices.iter();
    let matrix = matrices
        .find(|m| m.path == "layers.0.mlp.experts.gate_up_proj")
        .unwrap();
    assert_eq!(matrix.zero_experts, [3]);
    assert_eq!(matrix.saturated_blocks, 2);

    let report = edited("tiny-gpt-oss-bf16", |tensors| {
        let raw = tensors
            .get_mut("model.layers.1.self_attn.k_proj.weight")
            .unwrap();
        raw.bytes[10..12].copy_from_slice(&[0xc0, 0x7f]);
        let raw = tensors
            .get_mut("model.layers.1.mlp.experts.down_proj")
            .unwrap();
        let expert = raw.bytes.len() / raw.shape[0];
        raw.bytes[..expert].fill(0);
    });
    assert!(errors(&report)[0].contains("k_proj") && errors(&report)[0].contains("NaN"));
    let zero: Vec<_> = report
        .content
        .unwrap()
        .matrices
        .into_iter()
        .flat_map(|m| m.zero_experts)
        .collect();
    assert_eq!(zero, [0]);
}

/// All problems at once, and what each engine makes of them.
#[test]
fn missing_and_surplus_tensors_are_listed() {
    let sinks = "model.layers.1.self_attn.sinks";
    let bias = "model.layers.2.mlp.experts.down_proj_bias";
    let report = edited(SINGLE, |tensors| {
        let raw = tensors.remove(sinks).unwrap();
        tensors.remove(bias).unwrap();
        tensors.insert("model.layers.0.foo".into(), raw);
    });
    let errors = errors(&report).join("\n");
    for part in [sinks, bias, "model.layers.0.foo"] {
        assert!(errors.contains(part), "{part} is not in:\n{errors}");
    }
    assert_eq!(verdicts(&report), [Differs, Noise, Refuses, Noise, Refuses]);
    let vllm = report.verdict(Vllm).unwrap().reasons.join("\n");
    assert!(
        vllm.contains("no sink at all") && vllm.contains("taken as zero"),
        "{vllm}"
    );

    let report = edited(SINGLE, |tensors| {
        let raw = tensors[sinks].clone();
        tensors.insert("extra.weight".into(), raw);
    });
    assert_eq!(verdicts(&report), [Refuses, Loads, Loads, Loads, Refuses]);

    let report = edited(SINGLE, |tensors| {
        let name = "model.layers.0.mlp.experts.down_proj_scales";
        tensors.get_mut(name).unwrap().dtype = Dtype::F8_E8M0;
    });
    assert_eq!(report.verdict(Sglang).unwrap().verdict, Noise);
    assert_eq!(report.verdict(LlamaCpp).unwrap().verdict, Refuses);
}

fn with_config(edit: impl FnOnce(&mut serde_json::Value)) -> ValidationReport {
    let copy = copy_of(SINGLE);
    edit_json(&copy.path().join("config.json"), edit);
    validate(copy.path())
}

#[test]
fn keys_that_engines_read_otherwise_are_named() {
    for (key, value, engine, expected) in [
        ("rms_norm_eps", serde_json::json!(1e-6), Vllm, Differs),
        ("swiglu_limit", serde_json::json!(5.0), TensorRtLlm, Differs),
        ("model_type", serde_json::json!(null), Vllm, Refuses),
        (
            "quantization_config",
            serde_json::json!(null),
            Transformers,
            Noise,
        ),
    ] {
        let report = with_config(|config| config[key] = value);
        let verdict = report.verdict(engine).unwrap();
        assert_eq!(verdict.verdict, expected, "{key}: {verdict:?}");
        let named = verdict.reasons.iter().any(|reason| reason.contains(key));
        assert!(named, "{key}: {:?}", verdict.reasons);
    }
    let report = with_config(|config| {
        let rope = config["rope_scaling"].as_object_mut().unwrap();
        rope.remove("truncate");
    });
    assert_eq!(report.verdict(Vllm).unwrap().verdict, Differs);
}

#[test]
fn files_that_engines_choose_otherwise_are_named() {
    let copy = copy_of("tiny-gpt-oss-sharded");
    assert_eq!(verdicts(&validate(copy.path())), [Loads; 5]);
    let stale = golden::directory().join("tiny-gpt-oss-bf16/model.safetensors");
    std::fs::write(copy.path().join(WEIGHTS), std::fs::read(stale).unwrap()).unwrap();
    let report = validate(copy.path());
    assert!(!report.is_sound());
    assert_eq!(report.verdict(Transformers).unwrap().verdict, Differs);
    assert_eq!(report.verdict(TensorRtLlm).unwrap().verdict, Differs);

    let copy = copy_of("tiny-gpt-oss-sharded");
    edit_json(&copy.path().join("model.safetensors.index.json"), |index| {
        index.as_object_mut().unwrap().remove("metadata");
    });
    let report = validate(copy.path());
    assert_eq!(report.verdict(Transformers).unwrap().verdict, Refuses);
    assert_eq!(report.verdict(Vllm).unwrap().verdict, Loads);
}

/// What cannot be read at all is a report, too.
#[test]
fn rubbish_is_a_report() {
    let copy = copy_of(SINGLE);
    std::fs::write(copy.path().join(WEIGHTS), b"rubbish").unwrap();
    std::fs::write(copy.path().join("config.json"), b"{").unwrap();
    let report = validate(copy.path());
    assert_eq!(errors(&report).len(), 2, "{:?}", report.findings);
    assert_eq!(verdicts(&report), [Refuses; 5]);
    let path = copy.path().join("x.gguf");
    std::fs::write(&path, b"rubbish").unwrap();
    assert_eq!(verdicts(&validate(&path)), [Refuses]);
    validate_checkpoint(copy.path().join("nothing"), None, |_| {}).unwrap_err();
}
