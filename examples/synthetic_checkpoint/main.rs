//! Writes a checkpoint of the published shapes with random weights, to measure loading and generation
//! without a download: `cargo run --example synthetic_checkpoint -- DIR`.

#[path = "../../tests/support/o200k.rs"]
mod o200k;
mod tensors;

#[path = "../support/terminal.rs"]
mod terminal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn_gpt_oss::{CheckpointForm, GptOssConfig, OutputDirectory};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tensors::RandomTensor;

/// Writes a gpt-oss checkpoint in the published format with random weights: experts in MXFP4, the rest in
/// BF16, the vocabulary of the published tokenizer. 13.8 GB for the 20b.
#[derive(Parser)]
#[command(name = "synthetic_checkpoint", max_term_width = 100)]
struct Args {
    /// Directory to write
    dir: PathBuf,
    /// Which model's shapes
    #[arg(long, value_enum, default_value_t = Size::Gpt20b)]
    size: Size,
    /// Fewer layers than the model has
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Largest size of a file in GB
    #[arg(long, value_name = "GB", default_value_t = 4.8)]
    shard: f64,
    /// Seed of the weights
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Replace what is in the directory
    #[arg(long)]
    overwrite: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    /// gpt-oss-20b: 24 layers of 32 experts
    #[value(name = "20b")]
    Gpt20b,
    /// gpt-oss-120b: 36 layers of 128 experts
    #[value(name = "120b")]
    Gpt120b,
    /// 300 million parameters: 8 layers of 16 experts, and the vocabulary of the others
    #[value(name = "300m")]
    Small,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let config = config(&args)?;
    let tensors = RandomTensor::of(&config, args.seed);
    let total: usize = tensors.iter().map(RandomTensor::n_bytes).sum();
    let dir = OutputDirectory::create(&args.dir, args.overwrite)?;
    let bar = ProgressBar::new(total as u64 / 1_000_000);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} MB  {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));

    let shards = shards(tensors, (args.shard * 1e9) as usize);
    let n_shards = shards.len();
    let mut weight_map = BTreeMap::new();
    for (i, shard) in shards.into_iter().enumerate() {
        let name = format!("model-{i:05}-of-{:05}.safetensors", n_shards - 1);
        for tensor in &shard {
            weight_map.insert(tensor.name.clone(), name.clone());
        }
        let n_bytes: usize = shard.iter().map(RandomTensor::n_bytes).sum();
        let views = shard
            .into_iter()
            .map(|tensor| (tensor.name.clone(), tensor));
        let path = dir.path().join(&name);
        safetensors::serialize_to_file(views, None, &path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        bar.inc(n_bytes as u64 / 1_000_000);
    }
    let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
    write(
        dir.path(),
        "model.safetensors.index.json",
        &index.to_string(),
    )?;
    let config_json = serde_json::to_string_pretty(&config.to_json())?;
    write(dir.path(), "config.json", &config_json)?;
    write(
        dir.path(),
        "tokenizer.json",
        &o200k::tokenizer_json().to_string(),
    )?;
    dir.commit()?;
    bar.finish_and_clear();
    terminal::say(format_args!(
        "{}: {:.2} GB in {n_shards} files",
        args.dir.display(),
        total as f64 / 1e9
    ));
    Ok(())
}

fn config(args: &Args) -> Result<GptOssConfig> {
    let mut config = match args.size {
        Size::Gpt20b => GptOssConfig::gpt_oss_20b(),
        Size::Gpt120b => GptOssConfig::gpt_oss_120b(),
        Size::Small => small(),
    };
    if let Some(layers) = args.layers {
        let most = config.num_hidden_layers;
        ensure!((1..=most).contains(&layers), "--layers must be 1 to {most}");
        config.num_hidden_layers = layers;
        config.layer_types.truncate(layers);
    }
    config.quantization_config = CheckpointForm::Mxfp4.quantization_config();
    Ok(config)
}

fn small() -> GptOssConfig {
    let mut config = GptOssConfig {
        hidden_size: 512,
        intermediate_size: 512,
        num_hidden_layers: 8,
        num_attention_heads: 16,
        num_key_value_heads: 4,
        head_dim: 32,
        num_local_experts: 16,
        ..GptOssConfig::gpt_oss_20b()
    };
    config.layer_types.truncate(config.num_hidden_layers);
    config
}

/// Files of at most `limit` bytes, tensors in their order.
fn shards(tensors: Vec<RandomTensor>, limit: usize) -> Vec<Vec<RandomTensor>> {
    let mut shards: Vec<Vec<RandomTensor>> = Vec::new();
    let mut n_bytes = usize::MAX;
    for tensor in tensors {
        n_bytes = n_bytes.saturating_add(tensor.n_bytes());
        if n_bytes > limit {
            n_bytes = tensor.n_bytes();
            shards.push(Vec::new());
        }
        if let Some(shard) = shards.last_mut() {
            shard.push(tensor);
        }
    }
    shards
}

fn write(dir: &Path, name: &str, contents: &str) -> Result<()> {
    let path = dir.join(name);
    if let Err(error) = std::fs::write(&path, contents) {
        bail!("cannot write {}: {error}", path.display());
    }
    Ok(())
}
