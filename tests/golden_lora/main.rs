//! Compares low-rank adapters with the golden data, made with PEFT and transformers in float32: files, logits,
//! gradients, merged weights, and training on `Q(W + delta)`.
//!
//! The data is in `golden` next to this file, or in the directory `GOLDEN_DIR`; see its README. Sizes, rank,
//! targets and layers are those of its files.
#![allow(clippy::unwrap_used)]

#[path = "../support/deviation.rs"]
mod deviation;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod curve;
mod files;
mod merged;
mod pass;

use burn::tensor::Device;
use burn_gpt_oss::{AdapterCheckpoint, GptOss};
use burn_qat_train::{QuantPolicy, round_adapters};
use golden::{Golden, directory};
use model::{Batch, load, load_packed, load_stored};

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXPECTED: &str = "lora/expected.safetensors";

/// How a base is loaded.
type Base = fn(&Device) -> GptOss;

/// The base as dense floats, as dense floats of 16 bits, and packed: all hold the same values.
const BASES: [(&str, Base); 3] = [
    ("dense", |device| load("tiny-gpt-oss-bf16", device)),
    ("stored", |device| load_stored("tiny-gpt-oss-bf16", device)),
    ("packed", |device| load_packed("tiny-gpt-oss", device)),
];

fn adapter(model: &GptOss) -> AdapterCheckpoint {
    AdapterCheckpoint::open(directory().join("lora/adapter"), model.config()).unwrap()
}

/// The model with PEFT's adapter.
fn adapted(base: Base, device: &Device) -> GptOss {
    let model = base(device);
    adapter(&model).attach(model).unwrap()
}

/// The same in training on rounded expert matrices.
fn rounded(base: Base, device: &Device) -> GptOss {
    let policy = QuantPolicy::mxfp4_mlp_weight_only();
    round_adapters(adapted(base, device), &policy).unwrap().0
}

fn batch() -> Batch {
    Batch::read(&Golden::open("tiny-gpt-oss-expected.safetensors"), "a")
}
