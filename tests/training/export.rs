//! Export of quantized models: bits, copied bytes, and what is refused.

use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, FloatDType};
use burn_fp4::{Fp4Scheme, ScaleRule, fake_quantize_along};
use burn_gpt_oss::{CheckpointReader, GptOss};
use burn_qat_train::{QatError, QuantPolicy, QuantRule, export_fp4, insert_quantizers};

fn tiny() -> PathBuf {
    let golden = std::env::var_os("GOLDEN_DIR").map(PathBuf::from);
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    golden.unwrap_or_else(default).join("tiny-gpt-oss")
}

fn load() -> (CheckpointReader, GptOss) {
    let reader = CheckpointReader::open(tiny()).expect("golden data");
    let model = reader
        .load(&Device::flex(), FloatDType::F32, |_| {})
        .expect("golden data");
    (reader, model)
}

fn bits(values: Vec<f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

/// The preset with another scheme.
fn policy(scheme: Fp4Scheme) -> QuantPolicy {
    let mut policy = QuantPolicy::mxfp4_mlp_weight_only();
    policy.rules[0].scheme = Some(scheme);
    policy
}

#[test]
fn trained_weights_come_back_bit_for_bit_by_every_scale_rule() {
    let rules = [
        ScaleRule::Ceil,
        ScaleRule::Floor,
        ScaleRule::Even,
        ScaleRule::Mse,
    ];
    for rule in rules {
        check_trained(Fp4Scheme::mxfp4_with(rule));
    }
}

fn check_trained(scheme: Fp4Scheme) {
    let (reader, mut model) = load();
    for layer in &mut model.layers {
        for (_, weight) in layer.mlp.experts.weights_mut() {
            let moved = weight.val() * 1.037 + 0.001;
            *weight = Param::from_tensor(moved).into();
        }
    }
    let (model, quantized) = insert_quantizers(model, &policy(scheme)).expect("experts");
    assert_eq!(quantized.len(), 2 * model.layers.len());
    let dir = tempfile::tempdir().expect("temporary directory");
    let report =
        export_fp4(&model, &dir.path().join("out"), &reader, false, |_| {}).expect("export");
    assert!(report.saved.copied.is_empty());
    assert_eq!(report.verified_weights, model.config().num_expert_weights());

    // The comparison inside the export, once more from outside and through the loader.
    let exported = CheckpointReader::open(dir.path().join("out")).expect("own export");
    let loaded = exported
        .load(&Device::flex(), FloatDType::F32, |_| {})
        .expect("own export");
    for (trained, loaded) in model.layers.iter().zip(&loaded.layers) {
        let trained = &trained.mlp.experts.down_proj;
        let master = trained.dense().expect("dense experts").base();
        let expected = fake_quantize_along(master, 1, &scheme)
            .try_into_vec_as()
            .expect("f32");
        let found = loaded
            .mlp
            .experts
            .down_proj
            .val()
            .try_into_vec_as()
            .expect("f32");
        assert_eq!(bits(expected), bits(found));
    }
}

#[test]
fn matrices_in_two_formats_are_refused_before_anything_is_written() {
    let (reader, model) = load();
    let mut both = policy(Fp4Scheme::mxfp4());
    both.rules.push(QuantRule {
        pattern: "layers.1.mlp.experts.down_proj".into(),
        scheme: Some(Fp4Scheme::nvfp4()),
    });
    let (model, _) = insert_quantizers(model, &both).expect("experts");
    let dir = tempfile::tempdir().expect("temporary directory");
    let target = dir.path().join("out");
    let error = export_fp4(&model, &target, &reader, false, |_| {}).expect_err("refused");
    let message = error.to_string();
    assert!(
        message.contains("layers.1.mlp.experts.down_proj") && message.contains("NVFP4 (Nearest)"),
        "{message}"
    );
    assert!(!target.exists());
}

#[test]
fn untouched_matrices_are_copied_byte_for_byte() {
    let (reader, model) = load();
    let (model, _) =
        insert_quantizers(model, &QuantPolicy::mxfp4_mlp_weight_only()).expect("experts");
    let dir = tempfile::tempdir().expect("temporary directory");
    let report =
        export_fp4(&model, &dir.path().join("out"), &reader, false, |_| {}).expect("export");
    assert_eq!(report.saved.copied.len(), 2 * model.layers.len());
    let exported = CheckpointReader::open(dir.path().join("out")).expect("own export");
    let names: Vec<&str> = reader.tensor_names().collect();
    assert_eq!(names, exported.tensor_names().collect::<Vec<_>>());
    for name in names {
        let (a, b) = (
            reader.raw(name).expect(name),
            exported.raw(name).expect(name),
        );
        assert!(a.bytes == b.bytes && a.shape == b.shape, "{name}");
    }
}

#[test]
fn policies_the_format_cannot_hold_are_refused() {
    let (reader, model) = load();
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut policy = QuantPolicy::mxfp4_mlp_weight_only();
    policy.rules.push(QuantRule {
        pattern: "*q_proj.weight".into(),
        scheme: policy.rules[0].scheme,
    });
    let (wide, _) = insert_quantizers(model.clone(), &policy).expect("matches");
    policy.rules = vec![QuantRule {
        pattern: "layers.0.mlp.experts.*_proj".into(),
        ..policy.rules[0].clone()
    }];
    let (narrow, _) = insert_quantizers(model, &policy).expect("matches");
    for (model, path, what) in [
        (wide, "layers.0.self_attn.q_proj.weight", "has a quantizer"),
        (narrow, "layers.1.mlp.experts.down_proj", "has no quantizer"),
    ] {
        let target = dir.path().join("out");
        let error = export_fp4(&model, &target, &reader, false, |_| {}).expect_err("refused");
        assert!(matches!(error, QatError::Policy { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains(path) && message.contains(what),
            "{message}"
        );
        assert!(!target.exists());
    }
}

#[test]
fn a_policy_that_matches_nothing_is_an_error() {
    let (_, model) = load();
    let rule = QuantRule::new("*no_such_layer*", Some(Fp4Scheme::mxfp4()));
    let policy = QuantPolicy::new("typo", vec![rule]);
    let error = insert_quantizers(model, &policy)
        .expect_err("matches nothing")
        .to_string();
    assert!(
        error.contains("typo") && error.contains("matches no weight"),
        "{error}"
    );
}
