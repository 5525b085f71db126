//! Writes the logits of a checkpoint for random token ids, for `scripts/verify_export.py`:
//! `cargo run --example export_logits -- DIR FILE.safetensors`.

#[path = "support/terminal.rs"]
mod terminal;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use burn_gpt_oss::CheckpointReader;
use clap::Parser;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use safetensors::{Dtype, tensor::TensorView};

#[derive(Parser)]
#[command(about = "Writes the logits of a checkpoint for random token ids")]
struct Args {
    /// Checkpoint directory
    checkpoint: PathBuf,
    /// File to write: `input_ids` (I64 `[batch, len]`) and `logits` (F32 `[batch, len, vocab]`)
    file: PathBuf,
    /// Sequences
    #[arg(long, default_value_t = 2)]
    batch: usize,
    /// Tokens per sequence
    #[arg(long, default_value_t = 48)]
    len: usize,
    /// Seed of the token ids
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.batch > 0 && args.len > 0,
        "--batch and --len must be at least 1"
    );
    let device = Device::flex();
    let reader = CheckpointReader::open(&args.checkpoint)?;
    let model = reader.load(&device, FloatDType::F32, |_| {})?;
    let vocab = reader.config().vocab_size;
    let mut rng = StdRng::seed_from_u64(args.seed);
    let ids: Vec<i64> = (0..args.batch * args.len)
        .map(|_| rng.random_range(0..vocab as i64))
        .collect();

    let shape = [args.batch, args.len];
    let input = Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), shape), &device);
    let logits: Vec<f32> = model.forward(input, None).try_into_vec_as()?;
    let logits_shape = vec![args.batch, args.len, vocab];
    let tensors = [
        (
            "input_ids",
            TensorView::new(Dtype::I64, shape.to_vec(), bytemuck::cast_slice(&ids))?,
        ),
        (
            "logits",
            TensorView::new(Dtype::F32, logits_shape, bytemuck::cast_slice(&logits))?,
        ),
    ];
    safetensors::serialize_to_file(tensors, None, &args.file)
        .with_context(|| args.file.display().to_string())?;
    terminal::say(format_args!(
        "{}: logits of {} x {} tokens",
        args.file.display(),
        args.batch,
        args.len
    ));
    Ok(())
}
