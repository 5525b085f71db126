//! The embedded tiny model.
#![allow(dead_code)] // Every example uses a part of it.

use std::path::Path;

use anyhow::{Context, Result};

/// Files of the embedded checkpoint, made by `examples/pretrain_tiny.rs`.
const FILES: [(&str, &[u8]); 4] = [
    ("config.json", CONFIG.as_bytes()),
    (
        "generation_config.json",
        include_bytes!("../../assets/tiny-gpt-oss/generation_config.json"),
    ),
    (
        "model.safetensors",
        include_bytes!("../../assets/tiny-gpt-oss/model.safetensors"),
    ),
    ("tokenizer.json", TOKENIZER),
];
/// The configuration of the embedded model.
pub const CONFIG: &str = include_str!("../../assets/tiny-gpt-oss/config.json");
/// The tokenizer of the embedded model.
pub const TOKENIZER: &[u8] = include_bytes!("../../assets/tiny-gpt-oss/tokenizer.json");

/// Writes the checkpoint into an existing directory.
pub fn write(dir: &Path) -> Result<()> {
    for (name, bytes) in FILES {
        let path = dir.join(name);
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
