//! Writes the logits of a checkpoint for random token ids, for `scripts/verify_export.py` and, with an adapter, for
//! `scripts/verify_adapter.py`: `cargo run --example export_logits -- DIR FILE.safetensors [--adapter DIR]`.

#[path = "support/terminal.rs"]
mod terminal;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use burn_fp4::LowRankAdapter;
use burn_gpt_oss::{AdapterCheckpoint, CheckpointReader, GptOss, TensorLayout, tensor_specs};
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
    /// Directory of an adapter of this checkpoint, as PEFT saves it: the file also gets the sums of all weights that
    /// it adapts, `merged.NAME` (F32)
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Seed of the token ids
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// Name, shape and values of a tensor.
type Named = (String, Vec<usize>, Vec<f32>);

/// The adapted weights with their deltas, as they lie in a checkpoint in BF16.
fn sums(model: &GptOss) -> Result<Vec<Named>> {
    let mut sums = Vec::new();
    for spec in tensor_specs(model.config()) {
        let name = format!("merged.{}", spec.name);
        let matrices = model.matrices();
        if let Some((_, weight)) = matrices.iter().find(|(path, _)| *path == spec.path)
            && weight.reparameterization::<LowRankAdapter<2>>().is_some()
        {
            let value = match spec.layout {
                TensorLayout::Transposed => weight.val().swap_dims(0, 1),
                _ => weight.val(),
            };
            sums.push((name, spec.file_shape(), value.try_into_vec_as()?));
        } else if let Some((_, weight)) =
            model.expert_weights().find(|(path, _)| *path == spec.path)
            && weight.adapter().is_some()
        {
            sums.push((name, spec.file_shape(), weight.val().try_into_vec_as()?));
        }
    }
    Ok(sums)
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.batch > 0 && args.len > 0,
        "--batch and --len must be at least 1"
    );
    let device = Device::flex();
    let reader = CheckpointReader::open(&args.checkpoint)?;
    let mut model = reader.load(&device, FloatDType::F32, |_| {})?;
    let mut merged = Vec::new();
    if let Some(dir) = &args.adapter {
        let adapter = AdapterCheckpoint::open(dir, reader.config())?;
        model = adapter.attach(model)?;
        merged = sums(&model)?;
    }
    let vocab = reader.config().vocab_size;
    let mut rng = StdRng::seed_from_u64(args.seed);
    let ids: Vec<i64> = (0..args.batch * args.len)
        .map(|_| rng.random_range(0..vocab as i64))
        .collect();

    let shape = [args.batch, args.len];
    let input = Tensor::<2, Int>::from_data(TensorData::new(ids.clone(), shape), &device);
    let logits: Vec<f32> = model.forward(input, None).try_into_vec_as()?;
    let logits_shape = vec![args.batch, args.len, vocab];
    let mut tensors = vec![
        (
            "input_ids".to_owned(),
            TensorView::new(Dtype::I64, shape.to_vec(), bytemuck::cast_slice(&ids))?,
        ),
        (
            "logits".to_owned(),
            TensorView::new(Dtype::F32, logits_shape, bytemuck::cast_slice(&logits))?,
        ),
    ];
    for (name, shape, values) in &merged {
        let bytes = bytemuck::cast_slice(values);
        tensors.push((
            name.clone(),
            TensorView::new(Dtype::F32, shape.clone(), bytes)?,
        ));
    }
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
