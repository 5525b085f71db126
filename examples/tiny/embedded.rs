//! The embedded tiny model.

use std::path::Path;

use anyhow::{Context, Result};

/// Files of the embedded checkpoint, made by `examples/pretrain_tiny.rs`.
const FILES: [(&str, &[u8]); 4] = [
    (
        "config.json",
        include_bytes!("../../assets/tiny-gpt-oss/config.json"),
    ),
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
