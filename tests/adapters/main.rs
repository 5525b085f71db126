//! Low-rank adapters: insertion, files and what is refused of them, training on a stored base, export.
#![allow(clippy::unwrap_used)]

#[path = "../support/files.rs"]
mod files;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod adapter_files;
mod export;
mod insertion;
mod refused;
mod resume;
mod training;

use burn::tensor::Device;
use burn_gpt_oss::GptOss;
use burn_qat_train::{LoraConfig, insert_adapters};
use model::load_stored;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A checkpoint whose hidden size differs from the intermediate size.
const FORM: &str = "tiny-gpt-oss";

/// The model as it lies in the file, with adapters that change nothing yet.
fn adapted(config: &LoraConfig, device: &Device) -> GptOss {
    insert_adapters(load_stored(FORM, device), config)
        .unwrap()
        .0
}
