//! Generation from a checkpoint of the shapes of gpt-oss-20b, as it lies on disk, on the device that
//! `BURN_DEVICE` names: the CPU if nothing else is compiled in.
//!
//! Floor per token and sequence: every byte of the dense matrices and of the experts that it is routed to
//! is read once, 1.27 GB of experts and 2.45 GB in 16 bits for the 20b; beside it the rate at which the
//! same run reads mapped memory, or copies memory of another device.
//!
//! `cargo bench --bench decode` makes two layers with random weights in a temporary directory (3.2 GB),
//! with `LAYERS=N` others; numbers after `--` are those of sequences. `CHECKPOINT=DIR` takes any checkpoint,
//! such as that of the example `synthetic_checkpoint`.

#[path = "support/checkpoint.rs"]
mod checkpoint;
#[path = "support/process.rs"]
mod process;
#[path = "support/rates.rs"]
mod rates;
#[path = "../examples/synthetic_checkpoint/tensors.rs"]
mod tensors;

use std::time::Instant;

use anyhow::Result;
use burn::backend::DispatchDevice;
use burn::tensor::Device;
use burn_gpt_oss::{CheckpointReader, ElementTypes, GenerateOptions, Generation, GptOss, Step};
use checkpoint::checkpoint;
use process::Process;
use rates::{copy_rate, read_rate};

const PROMPT: usize = 16;
const NEW: usize = 32;

fn main() -> Result<()> {
    let (dir, _temporary) = checkpoint(2)?;
    let start = Instant::now();
    let reader = CheckpointReader::open(&dir)?;
    let device = Device::default();
    let dtype = ElementTypes::generation(&device).compute;
    let model = reader.load_stored(&device, dtype, |_| {})?;
    device.sync()?;
    let config = reader.config();
    println!("# Decoding from stored weights\n");
    println!(
        "{device:?}, activations in {dtype:?}; {} layers, {:.2} GB, {} threads; opened in {:.2} s.\n",
        config.num_hidden_layers,
        reader.data_len() as f64 / 1e9,
        rayon::current_num_threads(),
        start.elapsed().as_secs_f64()
    );
    let first_at = start.elapsed().as_secs_f64();
    let first = decode(&model, 1, &device)?;
    let first_at = first_at + first.first;
    println!(
        "first token after {:.2} s, {:.2} s after opening the file\n",
        first.first, first_at
    );
    report_memory("after 32 tokens", &reader)?;

    println!(
        "\n| sequences | first token, s | tokens/s | GB per step | GB/s | read GB/s | share of floor |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for rows in rows() {
        let run = decode(&model, rows, &device)?;
        let rate = match on_cpu(&device) {
            true => read_rate(&reader),
            false => copy_rate(&device)?,
        };
        let bytes = floor_bytes(&reader, rows);
        let used = bytes / run.step / 1e9;
        println!(
            "| {rows} | {:.2} | {:.2} | {:.2} | {used:.1} | {rate:.1} | {:.0} % |",
            run.first,
            rows as f64 / run.step,
            bytes / 1e9,
            100.0 * used / rate
        );
    }
    println!();
    report_memory("at the end", &reader)
}

fn on_cpu(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// Those named on the command line, or some.
fn rows() -> Vec<usize> {
    let arguments = std::env::args().skip(1);
    let rows: Vec<usize> = arguments
        .filter_map(|rows| rows.parse().ok())
        .filter(|rows| *rows > 0)
        .collect();
    if rows.is_empty() {
        vec![1, 4, 16]
    } else {
        rows
    }
}

struct Run {
    /// Seconds until the first token.
    first: f64,
    /// Median seconds of the other steps.
    step: f64,
}

/// Continues different prompts of random tokens together.
fn decode(model: &GptOss, rows: usize, device: &Device) -> Result<Run> {
    let vocab = model.config().vocab_size;
    let token = |row: usize, i: usize| ((row * 977 + i + 1) * 7919 % vocab) as u32;
    let prompt = |row: usize| (0..PROMPT).map(|i| token(row, i)).collect();
    let prompts: Vec<Vec<u32>> = (0..rows).map(prompt).collect();
    let options = GenerateOptions {
        max_new_tokens: NEW,
        batch_size: rows,
        ..GenerateOptions::default()
    };
    let mut generation = Generation::new(model, &prompts, &options, device)?;
    let mut times = Vec::new();
    let mut start = Instant::now();
    while let Some(step) = generation.step()? {
        if let Step::Tokens(_) = step {
            times.push(start.elapsed().as_secs_f64());
            start = Instant::now();
        }
    }
    let first = times.remove(0);
    times.sort_by(f64::total_cmp);
    Ok(Run {
        first,
        step: times[times.len() / 2],
    })
}

/// Bytes of all matrices that a step of `rows` tokens reads, experts by their expected number.
fn floor_bytes(reader: &CheckpointReader, rows: usize) -> f64 {
    let config = reader.config();
    let share = config.num_experts_per_tok as f64 / config.num_local_experts as f64;
    let used = 1.0 - (1.0 - share).powi(rows as i32);
    let bytes = |name: &str| {
        let n_bytes = reader.raw(name).map_or(0, |raw| raw.bytes.len()) as f64;
        match name {
            _ if name.ends_with("_blocks") || name.ends_with("_scales") => used * n_bytes,
            // Of the embedding, only rows are read.
            "model.embed_tokens.weight" => 0.0,
            _ => n_bytes,
        }
    };
    reader.tensor_names().map(bytes).sum()
}

fn report_memory(when: &str, reader: &CheckpointReader) -> Result<()> {
    let (process, file) = (Process::now(), reader.file_len()? as f64);
    println!(
        "memory {when}: peak {:.2} GB = {:.3} of the file, {:.2} GB of it anonymous now, {:.2} GB read \
         from disk",
        process.peak_resident as f64 / 1e9,
        process.peak_resident as f64 / file,
        process.anonymous as f64 / 1e9,
        process.read as f64 / 1e9
    );
    Ok(())
}
