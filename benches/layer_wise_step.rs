//! The time of a step that is trained layer by layer beside one of the model as a whole, by turns.
//!
//! The model and the batch of the bench `train_step`: 36.4 M parameters, 4 sequences of 256 tokens, two threads. Each turn is
//! a stage of a few steps of every kind, of which the first does not count (`TURNS=N`, 5).
//!
//! Floor: a step recomputes a forward pass, a third of the arithmetic of a step of the whole; with exact clipping it goes
//! back twice, and recomputes twice: 4/3 and 7/3.

#[path = "support/training.rs"]
mod training;

use anyhow::{Context, Result};
use burn::tensor::Device;
use burn_qat_train::{
    Clipping, LayerWise, Masters, Moments, QuantPolicy, StageRun, TokenizedExample, TrainConfig,
    insert_quantizers,
};

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEQUENCES: usize = 4;
const LEN: usize = 256;
const STEPS: usize = 4;

struct Kind {
    name: &'static str,
    settings: Option<LayerWise>,
    quantized: bool,
}

fn kinds() -> Vec<Kind> {
    let layer_wise = |clipping, masters, moments| {
        Some(LayerWise {
            clipping,
            masters,
            moments,
            offload: false,
        })
    };
    let kind = |name, settings, quantized| Kind {
        name,
        settings,
        quantized,
    };
    use Clipping::{Exact, Previous};
    let small = (Masters::Split24, Moments::Companded8);
    vec![
        kind("whole", None, false),
        kind("whole, QAT", None, true),
        kind(
            "previous, float32",
            layer_wise(Previous, Masters::F32, Moments::F32),
            false,
        ),
        kind("previous", layer_wise(Previous, small.0, small.1), false),
        kind(
            "previous, QAT",
            layer_wise(Previous, small.0, small.1),
            true,
        ),
        kind("exact", layer_wise(Exact, small.0, small.1), false),
        kind("exact, QAT", layer_wise(Exact, small.0, small.1), true),
    ]
}

fn main() -> Result<()> {
    let turns = std::env::var("TURNS").map_or(Ok(5), |turns| turns.parse())?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2);
    pool.build_global()?;
    let kinds = kinds();
    let mut seconds = vec![Vec::new(); kinds.len()];
    for turn in 0..turns {
        for (i, kind) in kinds.iter().enumerate() {
            let steps = run(kind)?;
            println!("turn {turn}, {}: {steps:.3?}", kind.name);
            seconds[i].extend(steps);
        }
    }
    println!("\n| step | median, s | range, s | of the whole | tokens/s |\n|---|--:|--:|--:|--:|");
    let medians: Vec<f64> = seconds.iter_mut().map(|all| median(all)).collect();
    for ((kind, all), median) in kinds.iter().zip(&seconds).zip(&medians) {
        let whole = medians[usize::from(kind.quantized)];
        println!(
            "| {} | {median:.3} | {:.3} to {:.3} | {:.2} | {:.0} |",
            kind.name,
            all[0],
            all[all.len() - 1],
            median / whole,
            (SEQUENCES * LEN) as f64 / median
        );
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds of the steps of a stage behind the first.
fn run(kind: &Kind) -> Result<Vec<f64>> {
    let config = training::config(4);
    let mut model = config.init(&Device::flex());
    if kind.quantized {
        model = insert_quantizers(model, &QuantPolicy::mxfp4_mlp_weight_only())?.0;
    }
    let train = TrainConfig {
        steps: STEPS,
        batch_size: SEQUENCES,
        micro_batch_size: SEQUENCES,
        eval_steps: STEPS,
        quantization_metrics: false,
        layer_wise: kind.settings,
        ..TrainConfig::default()
    };
    let example = |seed: usize| TokenizedExample {
        tokens: (0..=LEN)
            .map(|i| ((i * 7919 + seed * 104_729) % config.vocab_size) as u32)
            .collect(),
        loss_mask: vec![true; LEN + 1],
        starts: Vec::new(),
    };
    let data: Vec<_> = (0..SEQUENCES).map(example).collect();
    let dir = tempfile::tempdir()?;
    let outcome =
        StageRun::new("step", dir.path(), &train).train(model, (data, vec![example(0)]))?;
    let ends: Vec<f64> = outcome
        .history
        .train
        .iter()
        .map(|point| point.seconds)
        .collect();
    let times: Vec<f64> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    times.last().context("steps behind the first")?;
    Ok(times)
}
