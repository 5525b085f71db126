//! Checkpoints of packed experts.

use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, FloatDType};
use burn_fp4::{ActivationFormat, Calibration, Fp4Scheme};
use burn_gpt_oss::{CheckpointForm, CheckpointReader, CheckpointWriter, GptOss, GptOssError};
use burn_qat_train::export_fp4;
use tempfile::TempDir;

use crate::files::{all_tensors, copy_of, edit_tensors};
use crate::golden;
use crate::model::{load, load_packed, open};

const PACKED: [&str; 2] = ["tiny-gpt-oss", "tiny-gpt-oss-sharded"];
const DENSE: &str = "tiny-gpt-oss-bf16";

fn save(model: &GptOss, form: CheckpointForm, out: &Path) -> Result<(), GptOssError> {
    CheckpointWriter::new(form)
        .save(model, out, |_| {})
        .map(|_| ())
}

/// A checkpoint whose first block of every expert matrix is zero under a scale that packing would not
/// choose.
fn unusual_scales() -> TempDir {
    let dir = copy_of(PACKED[0]);
    edit_tensors(&dir.path().join("model.safetensors"), |tensors| {
        for (name, tensor) in tensors {
            if name.ends_with("_blocks") {
                tensor.bytes[..16].fill(0);
            } else if name.ends_with("_scales") {
                tensor.bytes[0] = 200;
            }
        }
    });
    dir
}

#[test]
fn bytes_pass_through_memory_unchanged() {
    let dir = unusual_scales();
    let reader = CheckpointReader::open(dir.path()).unwrap();
    let mut calls = Vec::new();
    let model = reader
        .load_packed(&Device::flex(), FloatDType::F32, |p| {
            calls.push((p.tensor.to_string(), p.bytes_done));
            assert_eq!(p.bytes_total, reader.data_len());
        })
        .unwrap();
    assert_eq!(calls.len(), reader.specs().len(), "one call per parameter");
    assert!(calls.is_sorted_by_key(|(_, done)| *done));
    assert_eq!(calls.last().unwrap().1, reader.data_len());

    let out = TempDir::new().unwrap();
    let [packed, dense] = ["packed", "dense"].map(|name| out.path().join(name));
    save(&model, CheckpointForm::Mxfp4, &packed).unwrap();
    let expected = all_tensors(dir.path());
    let same = |dir: &Path| {
        let found = all_tensors(dir);
        assert!(found.keys().eq(expected.keys()), "{:?}", found.keys());
        found
            .iter()
            .all(|(name, found)| found.bytes == expected[name].bytes)
    };
    assert!(same(&packed));
    // Through dense weights they would not.
    let decoded = reader
        .load(&Device::flex(), FloatDType::F32, |_| {})
        .unwrap();
    save(&decoded, CheckpointForm::Mxfp4, &dense).unwrap();
    assert!(!same(&dense));
}

#[test]
fn both_published_forms_load() {
    for form in PACKED {
        let reader = open(form);
        let model = load_packed(form, &Device::flex());
        for spec in reader.specs() {
            let Some((layer, name)) = spec.path.split_once(".mlp.experts.") else {
                continue;
            };
            let layer: usize = layer.strip_prefix("layers.").unwrap().parse().unwrap();
            let weights = model.layers[layer].mlp.experts.weights();
            let Some((_, weight)) = weights.into_iter().find(|(found, _)| *found == name) else {
                continue;
            };
            let found = weight.packed().expect("packed").to_packed().unwrap();
            let expected = reader.packed(spec).unwrap();
            assert_eq!(found.shape(), expected.shape(), "{name}");
            assert!(found.codes() == expected.codes(), "{name}");
            assert!(found.scales() == expected.scales(), "{name}");
        }
        let out = TempDir::new().unwrap();
        let report = CheckpointWriter::new(CheckpointForm::Mxfp4)
            .with_source(&reader)
            .save(&model, out.path().join("out"), |_| {})
            .unwrap();
        assert_eq!(report.copied.len(), 2 * model.layers.len());
    }
}

#[test]
fn packed_experts_can_be_saved_dense_and_exported() {
    let out = TempDir::new().unwrap();
    let (dense, exported) = (out.path().join("dense"), out.path().join("exported"));
    let model = load_packed(PACKED[0], &Device::flex());
    save(&model, CheckpointForm::Bf16, &dense).unwrap();
    let expected = all_tensors(&golden::directory().join(DENSE));
    for (name, found) in all_tensors(&dense) {
        assert!(found.bytes == expected[&name].bytes, "{name}");
    }
    let report = export_fp4(&model, &exported, &open(PACKED[0]), false, |_| {}).unwrap();
    assert_eq!(report.verified_weights, model.config().num_expert_weights());
}

#[test]
fn a_dense_checkpoint_does_not_load_packed() {
    let error = open(DENSE).load_packed(&Device::flex(), FloatDType::F32, |_| {});
    let message = error.unwrap_err().to_string();
    for part in ["gate_up_proj", "pack_experts"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let out = TempDir::new().unwrap();
    let target = out.path().join("out");
    let refused = |model: &GptOss, parts: [&str; 2]| {
        let error = save(model, CheckpointForm::Mxfp4, &target).unwrap_err();
        assert!(matches!(error, GptOssError::Unsupported { .. }), "{error}");
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
        assert!(!target.exists());
    };
    let dense = load(DENSE, &Device::flex());
    let nvfp4 = dense.clone().pack_experts(&Fp4Scheme::nvfp4()).unwrap();
    refused(&nvfp4, ["layers.0.mlp.experts.gate_up_proj", "NVFP4"]);
    save(&nvfp4, CheckpointForm::Bf16, &out.path().join("bf16")).unwrap();

    let quantized = dense
        .with_activation_quantizers(ActivationFormat::Fp8, Calibration::Max)
        .unwrap();
    refused(
        &quantized,
        ["input_quantizer", "remove activation quantizers"],
    );
    let mut model = quantized.without_activation_quantizers();
    save(&model, CheckpointForm::Mxfp4, &out.path().join("without")).unwrap();

    let bias = &mut model.layers[0].mlp.experts.down_proj_bias;
    *bias = Param::from_tensor(bias.val() / 0.0);
    let model = model.pack_experts(&Fp4Scheme::mxfp4()).unwrap();
    let error = save(&model, CheckpointForm::Mxfp4, &target).unwrap_err();
    assert!(matches!(error, GptOssError::NonFinite { .. }), "{error}");
}
