//! A checkpoint to measure with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn_gpt_oss::{CheckpointForm, GptOssConfig};
use tempfile::TempDir;

use crate::tensors::RandomTensor;

/// The directory `CHECKPOINT`, or a temporary one of the shapes of the 20b with random weights and so many layers, or
/// `LAYERS`.
pub fn checkpoint(layers: usize) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(dir) = std::env::var_os("CHECKPOINT") {
        return Ok((dir.into(), None));
    }
    let dir = tempfile::tempdir()?;
    let mut config = GptOssConfig::gpt_oss_20b();
    config.num_hidden_layers = match std::env::var("LAYERS") {
        Ok(layers) => layers.parse().context("LAYERS")?,
        Err(_) => layers,
    };
    ensure!(
        (1..=config.layer_types.len()).contains(&config.num_hidden_layers),
        "LAYERS: 1 to {}",
        config.layer_types.len()
    );
    config.layer_types.truncate(config.num_hidden_layers);
    config.quantization_config = CheckpointForm::Mxfp4.quantization_config();
    write(dir.path(), &config)?;
    Ok((dir.path().to_path_buf(), Some(dir)))
}

fn write(dir: &Path, config: &GptOssConfig) -> Result<()> {
    let tensors = RandomTensor::of(config, 42);
    let views = tensors
        .into_iter()
        .map(|tensor| (tensor.name.clone(), tensor));
    let path = dir.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path)
        .with_context(|| path.display().to_string())?;
    std::fs::write(dir.join("config.json"), config.to_json().to_string())?;
    Ok(())
}
