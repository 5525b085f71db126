//! Compares the first training step and 20 steps of plain and quantization-aware fine-tuning with the
//! golden data, made with transformers and torch in float32.
//!
//! The data is in `golden` next to this file, or in the directory `GOLDEN_DIR`; see its README.

#[path = "../support/deviation.rs"]
mod deviation;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod curves;
mod start;
mod step0;

use curves::Mode;
use golden::Golden;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CURVES: &str = "qat/curves.safetensors";
const STEP0: &str = "qat/step0.safetensors";

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
    golden.finish(&["mxfp4.*", "mxfp4_ocp.*", "nvfp4.*"]);
}

#[test]
fn the_first_mxfp4_step_equals_torch() {
    let golden = Golden::open(STEP0);
    let mut model = start::mxfp4(&start::device());
    step0::check_weights("mxfp4", &mut model, &golden);
    step0::check("mxfp4", &model, &golden);
    golden.finish(&["none.*", "mxfp4_ocp.*", "nvfp4.*"]);
}

#[test]
fn the_first_mxfp4_step_by_the_rule_of_ocp_equals_torch() {
    let golden = Golden::open(STEP0);
    step0::check_losses("mxfp4_ocp", &start::mxfp4_ocp(&start::device()), &golden);
    golden.finish(&["none.*", "mxfp4.*", "nvfp4.*"]);
}

#[test]
fn the_first_nvfp4_step_equals_torch() {
    let golden = Golden::open(STEP0);
    let mut model = start::nvfp4(&start::device());
    step0::check_weights("nvfp4", &mut model, &golden);
    step0::check("nvfp4", &model, &golden);
    golden.finish(&["none.*", "mxfp4.*", "mxfp4_ocp.*"]);
}

#[test]
fn gradients_through_quantizers_are_the_same_with_checkpointing() {
    for model in [start::mxfp4, start::nvfp4] {
        let golden = Golden::open(STEP0);
        let (_, kept) = step0::gradients_of(&model(&start::device()), &golden);
        let checkpointing = start::device().gradient_checkpointing();
        let (_, recomputed) = step0::gradients_of(&model(&checkpointing), &golden);
        assert!(
            kept.keys().eq(recomputed.keys()),
            "parameters with a gradient"
        );
        for (name, kept) in &kept {
            let recomputed = bits(&recomputed[name].values);
            assert_eq!(bits(&kept.values), recomputed, "gradient of `{name}`");
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
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

#[test]
fn mxfp4_fine_tuning_by_the_rule_of_ocp_follows_torch() {
    check_curves(&curves::MXFP4_OCP);
}

#[test]
fn nvfp4_fine_tuning_follows_torch() {
    check_curves(&curves::NVFP4);
}

#[test]
fn nvfp4_fine_tuning_with_a_frozen_amax_follows_torch() {
    check_curves(&curves::NVFP4_FROZEN);
}

/// The keys of the other modes belong to the other tests.
fn check_curves(mode: &Mode) {
    let golden = Golden::open(CURVES);
    mode.check(&golden);
    let modes = [
        curves::NONE,
        curves::NONE_WITH_AUX,
        curves::MXFP4,
        curves::MXFP4_OCP,
        curves::NVFP4,
        curves::NVFP4_FROZEN,
    ];
    let names = modes.map(|mode| format!("{}.*", mode.name));
    let own = format!("{}.*", mode.name);
    let elsewhere: Vec<_> = names.iter().filter(|name| **name != own).collect();
    golden.finish(
        &elsewhere
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>(),
    );
}
