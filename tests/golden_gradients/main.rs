//! Compares gradients and one AdamW step with the golden data, made with transformers and torch in
//! float32, with and without gradient checkpointing.
//!
//! The data is in `golden` next to this file, or in the directory `GOLDEN_DIR`; see its README.

#[path = "../support/deviation.rs"]
mod deviation;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod adamw;
mod gradients;

use golden::Golden;
use model::{device, load};

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The form whose parameter shapes the golden gradients have; all forms hold the same values.
const FORM: &str = "tiny-gpt-oss-bf16";

#[test]
fn gradients_equal_the_package() {
    let device = device().autodiff();
    let golden = Golden::open("tiny-gpt-oss-grads.safetensors");
    gradients::check("gradients", &load(FORM, &device), &golden, &device);
    golden.finish(&[]);
}

#[test]
fn gradients_with_checkpointing_equal_the_package() {
    let device = device().autodiff().gradient_checkpointing();
    let golden = Golden::open("tiny-gpt-oss-grads.safetensors");
    gradients::check(
        "gradients with checkpointing",
        &load(FORM, &device),
        &golden,
        &device,
    );
    golden.finish(&[]);
}

#[test]
fn gradients_from_packed_experts_are_the_same() {
    let device = device().autodiff();
    let dense = gradients::cross_entropy_gradients(&load(FORM, &device), &device);
    let packed = gradients::cross_entropy_gradients(&load("tiny-gpt-oss", &device), &device);
    for (name, dense) in &dense {
        assert!(packed[name].values == dense.values, "gradient of `{name}`");
    }
}

#[test]
fn one_adamw_step_equals_torch() {
    let device = device().autodiff();
    let golden = Golden::open("tiny-gpt-oss-adamw.safetensors");
    adamw::check(load(FORM, &device), &golden, &device);
    golden.finish(&[]);
}
