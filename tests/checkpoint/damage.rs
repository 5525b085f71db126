//! Copies of golden checkpoints with one thing wrong.

use std::path::Path;

use burn::tensor::{Device, FloatDType};
use burn_gpt_oss::CheckpointReader;
use serde_json::Value;

use crate::files::{copy_of, edit_json};

pub const SINGLE: &str = "tiny-gpt-oss";
pub const SHARDED: &str = "tiny-gpt-oss-sharded";
pub const DENSE: &str = "tiny-gpt-oss-bf16";
pub const ROUTER: &str = "model.layers.0.mlp.router.weight";
pub const MATRIX: &str = "model.layers.0.mlp.experts.down_proj";

/// Damages a copy of a golden directory, and asserts that opening or loading it fails with an error
/// that names everything in `named`.
pub fn refused(directory: &str, damage: impl FnOnce(&Path), named: &[&str]) {
    let copy = copy_of(directory);
    damage(copy.path());
    let result = CheckpointReader::open(copy.path())
        .and_then(|reader| reader.load(&Device::flex(), FloatDType::F32, |_| {}));
    let text = result
        .map(|_| ())
        .expect_err(&format!("{named:?}: must be refused"))
        .to_string();
    for name in named {
        assert!(
            text.contains(name),
            "the error does not say `{name}`: {text}"
        );
    }
    println!("{text}");
}

/// Changes config.json.
pub fn with_config(key: &str, value: Value) -> impl FnOnce(&Path) {
    move |dir| edit_json(&dir.join("config.json"), |config| config[key] = value)
}
