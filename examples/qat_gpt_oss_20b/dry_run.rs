//! What a run would do and take, without doing it: weights are not read, and nothing is written.

use anyhow::Context;
use burn_gpt_oss::GptOssConfig;
use burn_qat_train::{MemoryEstimate, MemoryPlan, available_memory};

use crate::checks;
use crate::input::Data;
use crate::settings::{Settings, StagePlan};
use crate::terminal::say;

/// Prints parameters, stages, memory and disk.
pub fn print(
    config: &GptOssConfig,
    settings: &Settings,
    data: &Data,
    estimate: &MemoryEstimate,
) -> anyhow::Result<()> {
    let weights = config.num_expert_weights() + config.num_dense_weights();
    let trained = match &settings.recipe.lora {
        Some(lora) => lora.trainable(config)?,
        // Stages may train different parameters: the largest number is what counts.
        None => {
            let stages = settings.stages.iter();
            let trained =
                stages.map(|stage| stage.config.n_trained(config) + stage.n_learned_scales(config));
            trained.max().unwrap_or(weights)
        }
    };
    say(format_args!(
        "parameters {:.1} M, trained {:.1} M ({:.2} %)",
        weights as f64 / 1e6,
        trained as f64 / 1e6,
        100.0 * trained as f64 / weights as f64
    ));
    let trained: usize = data.train_lengths.iter().sum();
    let held_out = data.valid.iter().map(|example| example.tokens.len());
    say(format_args!(
        "data       {} conversations, {} tokens, the longest {}; held out {}, {} tokens",
        data.train.len(),
        trained,
        data.longest(),
        data.valid.len(),
        held_out.sum::<usize>()
    ));
    say("\n| stage | steps | epochs | tokens | sequences per step | learning rate | rounded by |");
    say("|---|--:|--:|--:|--:|--:|---|");
    for stage in &settings.stages {
        say(row(stage, data.train.len(), trained));
    }
    say(format_args!("\nmemory, by estimate\n{estimate}"));
    let (needed, disk) = (estimate.total(), checks::bytes_on_disk(config, settings));
    say(format_args!("  {:<28}{:>12}", "in all", gigabytes(needed)));
    let plan = ways(config, settings, data)?;
    say(match available_memory() {
        None => "the system does not tell how much memory is free".to_owned(),
        Some(free) => match estimate.check(free) {
            Ok(()) => format!("fits: {} are free", gigabytes(free)),
            Err(error) => format!("DOES NOT FIT: {error}"),
        },
    });
    say(format_args!("\nways to train a stage\n{plan}"));
    if let Some(way) = plan.first_that_fits() {
        say(format_args!("the first that fits: {}\n", way.settings));
    }
    say(format_args!(
        "disk       about {} are written",
        gigabytes(disk)
    ));
    Ok(())
}

/// The ways to train the first stage.
fn ways(config: &GptOssConfig, settings: &Settings, data: &Data) -> anyhow::Result<MemoryPlan> {
    let lora = settings.recipe.lora.clone().unwrap_or_default();
    let stage = settings.stages.first().context("a recipe has a stage")?;
    let free = available_memory();
    Ok(MemoryPlan::new(
        config,
        &lora,
        &stage.config,
        data.longest(),
        free,
    )?)
}

fn row(stage: &StagePlan, n_examples: usize, n_tokens: usize) -> String {
    let config = &stage.config;
    let epochs = (config.steps * config.batch_size) as f64 / n_examples.max(1) as f64;
    let policy = match stage.is_qat() {
        true => &stage.policy.name,
        false => "-",
    };
    format!(
        "| {} | {} | {epochs:.2} | {:.0} | {} | {:.1e} | {policy} |",
        stage.title,
        config.steps,
        epochs * n_tokens as f64,
        config.batch_size,
        config.learning_rate
    )
}

/// Decimal, as `12.3 GB` or `450 MB`.
pub fn gigabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
