//! Training of all parameters layer by layer at the shapes of gpt-oss-20b, with the memory that it takes beside what
//! was planned.
//!
//! `cargo bench --bench layer_wise_run` trains one layer with the whole vocabulary and random weights; `LAYERS=N` others.
//! `STEPS=N` steps (3) on sequences of `TOKENS=N` tokens (256), `MASTERS` and `MOMENTS` as in recipes, `CLIPPING` too,
//! `OFFLOAD=1` moments in files;
//! `QAT=0` leaves out the quantizers, `MICRO=N` accumulates N sequences (1).
//!
//! Floor of memory: the state, and the gradient of the largest matrix.

#[path = "support/memory.rs"]
mod memory;
#[path = "support/process.rs"]
mod process;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::Device;
use burn_gpt_oss::{GptOss, GptOssConfig, tensor_specs};
use burn_qat_train::{
    Console, LayerWise, MemoryEstimate, QuantPolicy, StageRun, TokenizedExample, TrainConfig,
    Trainable, insert_quantizers,
};
use memory::Memory;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let layers = number("LAYERS", 1)?;
    let (steps, tokens, micro_batches) = (
        number("STEPS", 3)?,
        number("TOKENS", 256)?,
        number("MICRO", 1)?,
    );
    let defaults = LayerWise::default();
    let settings = LayerWise {
        clipping: choice("CLIPPING", defaults.clipping)?,
        masters: choice("MASTERS", defaults.masters)?,
        moments: choice("MOMENTS", defaults.moments)?,
        offload: number("OFFLOAD", 0)? == 1,
    };
    let mut config = GptOssConfig::gpt_oss_20b();
    config.num_hidden_layers = layers;
    config.layer_types.truncate(layers);
    let train = TrainConfig {
        steps,
        batch_size: micro_batches,
        micro_batch_size: 1,
        learning_rate: 1e-4,
        warmup_ratio: 0.0,
        eval_steps: steps,
        quantization_metrics: false,
        layer_wise: Some(settings),
        ..TrainConfig::default()
    };
    let n_weights: u64 = tensor_specs(&config)
        .iter()
        .map(|spec| spec.len() as u64)
        .sum();
    let planned = MemoryEstimate {
        // Each matrix is made in the type that it is kept in.
        control: 0,
        load: 0,
        ..MemoryEstimate::full_parameter(&config, &train, tokens)
    };
    println!(
        "# {layers} layers, {:.2} billion parameters, {steps} steps of {micro_batches} x {tokens} tokens, {settings:?}\n\n{planned}\n",
        n_weights as f64 / 1e9
    );
    let memory = Memory::watch();
    let model = model(&config, settings)?;
    println!("model made: {}", memory.now());
    let out = tempfile::tempdir()?;
    let data = (0..micro_batches)
        .map(|seed| example(&config, tokens, seed))
        .collect::<Vec<_>>();
    let valid = vec![example(&config, 64, 0)];
    let console = Console::Lines(Arc::new(|line| println!("{line}")));
    let start = Instant::now();
    let run = StageRun::new("QAT", out.path(), &train).with_console(console);
    let outcome = run.train(model, (data, valid))?;
    let points = &outcome.history.train;
    let losses: Vec<f64> = points.iter().map(|point| point.loss).collect();
    let seconds = start.elapsed().as_secs_f64();
    println!("losses {losses:.4?}, {seconds:.1} s; {}", memory.now());
    let (peak, planned) = (memory.peak() as f64, planned.total() as f64);
    println!(
        "peak {:.2} GB, planned {:.2} GB: {:+.1} %\n",
        peak / 1e9,
        planned / 1e9,
        (planned / peak - 1.0) * 100.0
    );
    let ends: Vec<f64> = points.iter().map(|point| point.seconds).collect();
    let mut times: Vec<f64> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    times.sort_by(f64::total_cmp);
    // The first step is not among them: it is what the second one is measured from.
    let (Some(median), Some(first), Some(last)) =
        (times.get(times.len() / 2), times.first(), times.last())
    else {
        return Ok(());
    };
    println!(
        "| layers | parameters | QAT | clipping | masters | moments | tokens/s | median step, s | range, s | planned, GB |"
    );
    println!("|--:|--:|---|---|---|---|--:|--:|--:|--:|");
    println!(
        "| {layers} | {:.2} billion | {} | {:?} | {:?} | {:?} | {:.0} | {median:.2} | {first:.2} to {last:.2} | {:.1} |",
        n_weights as f64 / 1e9,
        number("QAT", 1)? != 0,
        settings.clipping,
        settings.masters,
        settings.moments,
        (micro_batches * tokens) as f64 / median,
        planned / 1e9
    );
    Ok(())
}

/// Random weights, each made in the type that it is kept in.
fn model(config: &GptOssConfig, settings: LayerWise) -> Result<GptOss> {
    let model = config.init(&Device::default()).prepared(settings);
    match number("QAT", 1)? {
        0 => Ok(model),
        _ => Ok(insert_quantizers(model, &QuantPolicy::mxfp4_mlp_weight_only())?.0),
    }
}

fn example(config: &GptOssConfig, n_tokens: usize, seed: usize) -> TokenizedExample {
    let token = |i: usize| ((i * 7919 + seed * 104_729) % config.vocab_size) as u32;
    TokenizedExample {
        tokens: (0..=n_tokens).map(token).collect(),
        loss_mask: vec![true; n_tokens + 1],
        starts: Vec::new(),
    }
}

fn number(name: &str, default: usize) -> Result<usize> {
    match std::env::var(name) {
        Ok(value) => value.parse().with_context(|| name.to_owned()),
        Err(_) => Ok(default),
    }
}

fn choice<T: DeserializeOwned>(name: &str, default: T) -> Result<T> {
    match std::env::var(name) {
        Ok(value) => serde_json::from_value(Value::String(value)).with_context(|| name.to_owned()),
        Err(_) => Ok(default),
    }
}
