//! Compares the first training step and 20 steps of plain and quantization-aware fine-tuning with the
//! golden data, made with transformers and torch in float32.
//!
//! The data is in `golden` next to this file, or in the directory `GOLDEN_DIR`; see its README.

#[path = "support/deviation.rs"]
mod deviation;
#[path = "support/golden.rs"]
mod golden;
#[path = "support/model.rs"]
mod model;

#[path = "golden_curves/curves.rs"]
mod curves;
#[path = "golden_curves/start.rs"]
mod start;
#[path = "golden_curves/step0.rs"]
mod step0;

use curves::Mode;
use golden::Golden;

const CURVES: &str = "qat/curves.safetensors";
const STEP0: &str = "qat/step0.safetensors";

/// What the files hold of the modes that a later issue offers.
const LATER_CURVES: [&str; 18] = [
    "mxfp4_ocp.ce",
    "mxfp4_ocp.ce_perturbed_1e-06",
    "mxfp4_ocp.ce_perturbed_1e-07",
    "mxfp4_ocp.aux",
    "mxfp4_ocp.min_router_gap",
    "mxfp4_ocp.after20.*",
    "nvfp4.ce",
    "nvfp4.ce_perturbed_1e-06",
    "nvfp4.ce_perturbed_1e-07",
    "nvfp4.aux",
    "nvfp4.min_router_gap",
    "nvfp4.after20.*",
    "nvfp4_frozen.ce",
    "nvfp4_frozen.ce_perturbed_1e-06",
    "nvfp4_frozen.ce_perturbed_1e-07",
    "nvfp4_frozen.aux",
    "nvfp4_frozen.min_router_gap",
    "nvfp4_frozen.after20.*",
];
const LATER_STEP0: [&str; 8] = [
    "mxfp4_ocp.ce",
    "mxfp4_ocp.aux",
    "mxfp4_ocp.logits_last4",
    "nvfp4.ce",
    "nvfp4.aux",
    "nvfp4.logits_last4",
    "nvfp4.grad.*",
    "nvfp4.fq.*",
];

#[test]
fn every_file_belongs_to_a_test() {
    let known = [
        "curves.safetensors",
        "init_experts.safetensors",
        "step0.safetensors",
    ];
    assert_eq!(golden::entries("qat"), known, "files in `qat`");
}

#[test]
fn the_first_plain_step_equals_torch() {
    let golden = Golden::open(STEP0);
    step0::check("none", &start::model(&start::device()), &golden);
    golden.finish(&[["mxfp4.*"].as_slice(), &LATER_STEP0].concat());
}

#[test]
fn the_first_mxfp4_step_equals_torch() {
    let golden = Golden::open(STEP0);
    let mut model = start::quantized(&start::device());
    step0::check_weights("mxfp4", &mut model, &golden);
    step0::check("mxfp4", &model, &golden);
    golden.finish(&[["none.*"].as_slice(), &LATER_STEP0].concat());
}

#[test]
fn gradients_through_quantizers_are_the_same_with_checkpointing() {
    let golden = Golden::open(STEP0);
    let (_, kept) = step0::gradients_of(&start::quantized(&start::device()), &golden);
    let checkpointing = start::device().gradient_checkpointing();
    let (_, recomputed) = step0::gradients_of(&start::quantized(&checkpointing), &golden);
    assert!(
        kept.keys().eq(recomputed.keys()),
        "parameters with a gradient"
    );
    for (name, kept) in &kept {
        let bits = |values: &[f32]| {
            values
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            bits(&kept.values),
            bits(&recomputed[name].values),
            "gradient of `{name}`"
        );
    }
}

#[test]
fn plain_fine_tuning_follows_torch() {
    check_curves(&curves::NONE);
}

#[test]
fn fine_tuning_with_the_auxiliary_loss_follows_torch() {
    check_curves(&curves::NONE_WITH_AUX);
}

#[test]
fn mxfp4_fine_tuning_follows_torch() {
    check_curves(&curves::MXFP4);
}

/// The keys of the other modes belong to the other tests.
fn check_curves(mode: &Mode) {
    let golden = Golden::open(CURVES);
    mode.check(&golden);
    let others = [curves::NONE, curves::NONE_WITH_AUX, curves::MXFP4].map(|other| other.name);
    let others: Vec<_> = others.iter().filter(|other| **other != mode.name).collect();
    let others: Vec<_> = others.iter().map(|other| format!("{other}.*")).collect();
    let elsewhere: Vec<_> = others
        .iter()
        .map(String::as_str)
        .chain(LATER_CURVES)
        .collect();
    golden.finish(&elsewhere);
}
