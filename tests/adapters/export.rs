//! Export of sums: the codes that were trained, and everything else as it was.

use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use burn_gpt_oss::{AdapterCheckpoint, CheckpointForm, CheckpointReader, CheckpointWriter, GptOss};
use burn_qat_train::{
    LogitDifference, LoraConfig, MergeReport, QuantPolicy, export_fp4, insert_adapters,
    round_adapters,
};

use crate::files::all_tensors;
use crate::golden::directory;
use crate::model::{open, values};
use crate::{FORM, adapted};

/// Adapters of experts that move some codes, and of attention where it is asked for.
fn model(attention: bool, b: f32) -> GptOss {
    let mut lora = LoraConfig {
        rank: 3,
        targets: vec!["*.experts.*_proj".into()],
        ..LoraConfig::default()
    };
    if attention {
        lora.targets.push("*.q_proj.weight".into());
    }
    let model = adapted(&lora, &Device::flex());
    let mut checkpoint = AdapterCheckpoint::of(&model, lora.settings("")).unwrap();
    for factors in checkpoint.factors.values_mut() {
        let number = |i: usize| b * (((i * 7919) % 101) as f32 - 50.0);
        (0..factors.b.len()).for_each(|i| factors.b[i] = number(i));
    }
    checkpoint.attach(model).unwrap()
}

fn rounded(model: GptOss) -> GptOss {
    round_adapters(model, &QuantPolicy::mxfp4_mlp_weight_only())
        .unwrap()
        .0
}

fn logits(model: &GptOss) -> Vec<f32> {
    let ids: Vec<i32> = (5..25).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 20]), &Device::flex());
    values(&model.forward(ids, None))
}

#[test]
fn exported_codes_are_those_of_the_forward_pass() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let trained = rounded(model(false, 1e-3));
    let report = export_fp4(&trained, &target, &open(FORM), false, |_| {}).unwrap();
    assert_eq!(
        report.verified_weights,
        trained.config().num_expert_weights()
    );
    assert!(report.saved.copied.is_empty());
    let exported = CheckpointReader::open(&target).unwrap();
    let loaded = exported
        .load_stored(&Device::flex(), FloatDType::F32, |_| {})
        .unwrap();
    assert_eq!(logits(&loaded), logits(&trained));
    let tokens: Vec<u32> = (5..25).collect();
    let difference = LogitDifference::of(&trained, &loaded, &tokens).unwrap();
    assert_eq!(difference.largest, 0.0);

    // Everything without an adapter is the source's, byte for byte.
    let (before, after) = (all_tensors(&directory().join(FORM)), all_tensors(&target));
    assert!(before.keys().eq(after.keys()));
    for (name, tensor) in &before {
        let adapted = name.contains("experts") && !name.contains("bias");
        assert_eq!(tensor != &after[name], adapted, "{name}");
    }
}

/// Experts that lie in bfloat16 already are not written as they lie there if an adapter changes them.
#[test]
fn adapters_on_a_base_in_bfloat16_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let base = open("tiny-gpt-oss-bf16")
        .load_stored(&Device::flex(), FloatDType::BF16, |_| {})
        .unwrap();
    let lora = LoraConfig::default();
    let (model, _) = insert_adapters(base, &lora).unwrap();
    let mut checkpoint = AdapterCheckpoint::of(&model, lora.settings("")).unwrap();
    for factors in checkpoint.factors.values_mut() {
        factors.b.fill(0.01);
    }
    let model = checkpoint.attach(model).unwrap();
    let target = dir.path().join("out");
    CheckpointWriter::new(CheckpointForm::Bf16)
        .save(&model, &target, |_| {})
        .unwrap();
    let (before, after) = (
        all_tensors(&directory().join("tiny-gpt-oss-bf16")),
        all_tensors(&target),
    );
    for (name, tensor) in &before {
        let expert = name.contains("experts") && !name.contains("bias");
        let attention = name.contains("_proj.weight") && name.contains("self_attn");
        assert_eq!(tensor != &after[name], expert || attention, "{name}");
    }
}

#[test]
fn adapters_of_attention_are_merged_into_bfloat16() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let trained = rounded(model(true, 1e-3));
    export_fp4(&trained, &target, &open(FORM), false, |_| {}).unwrap();
    let exported = CheckpointReader::open(&target).unwrap();
    let path = "layers.0.self_attn.q_proj.weight";
    let spec = exported
        .specs()
        .iter()
        .find(|spec| spec.path == path)
        .unwrap();
    let found = exported.values(spec).unwrap();
    let matrices = trained.matrices();
    let sum = values(
        &matrices
            .iter()
            .find(|(name, _)| name == path)
            .unwrap()
            .1
            .val(),
    );
    for (found, sum) in found.iter().zip(&sum) {
        assert_eq!(*found, half::bf16::from_f32(*sum).to_f32());
    }
    // More positions than are compared at a time; the last one is among them.
    let loaded = exported
        .load_stored(&Device::flex(), FloatDType::F32, |_| {})
        .unwrap();
    let tokens: Vec<u32> = (0..70).map(|i| i % 50).collect();
    let forward = |model: &GptOss| {
        let ids: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 70]), &Device::flex());
        values(&model.forward(ids, None))
    };
    let (a, b) = (forward(&trained), forward(&loaded));
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, |a, b| a.max(b.abs()));
    let difference = LogitDifference::of(&trained, &loaded, &tokens).unwrap();
    let expected = largest(&mut a.iter().zip(&b).map(|(a, b)| a - b));
    assert!(expected > 0.0);
    assert_eq!(difference.largest, f64::from(expected));
    let apart = a.iter().zip(&b).map(|(a, b)| f64::from((a - b).abs()));
    let mean = apart.sum::<f64>() / a.len() as f64;
    assert!(
        (difference.mean - mean).abs() < 1e-5 * mean,
        "{difference:?} {mean}"
    );
    assert_eq!(difference.magnitude, f64::from(largest(&mut a.into_iter())));
}

#[test]
fn sums_without_rounding_are_saved_as_floats_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (target, plain) = (dir.path().join("out"), model(true, 1e-3));
    let error = export_fp4(&plain, &target, &open(FORM), false, |_| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("has no quantizer"), "{error}");
    assert!(!target.exists());
    CheckpointWriter::new(CheckpointForm::Bf16)
        .with_source(&open(FORM))
        .save(&plain, &target, |_| {})
        .unwrap();
    let saved = CheckpointReader::open(&target).unwrap();
    let loaded = saved
        .load(&Device::flex(), FloatDType::F32, |_| {})
        .unwrap();
    let (found, expected) = (logits(&loaded), logits(&plain));
    let largest = expected
        .iter()
        .fold(0f32, |max, value| max.max(value.abs()));
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 2e-2 * largest;
    assert!(found.iter().zip(&expected).all(close));
}

#[test]
fn a_merge_that_changes_almost_nothing_says_so() {
    let report = MergeReport::new(&rounded(model(false, 1e-3))).unwrap();
    assert_eq!(report.matrices.len(), 8);
    assert!(report.changed_fraction() > 0.01, "{report}");
    assert!(!report.changes_almost_nothing());

    // Less than the last place of any element: a block whose largest element is 6 gets the next scale by anything more.
    let report = MergeReport::new(&rounded(model(false, 1e-30))).unwrap();
    assert_eq!(report.changed_fraction(), 0.0, "{report}");
    assert!(
        report.to_string().contains("changes almost nothing"),
        "{report}"
    );
}
