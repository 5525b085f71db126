//! Generation with cached keys and values: against the whole sequence computed at once, in batches,
//! from stored matrices, and what users can do wrong.

#[path = "../support/files.rs"]
mod files;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod batches;
mod cached;
mod control;
mod packed;
mod prompts;
mod scheduler;
#[path = "stored.rs"]
mod stored_files;
mod text;

use std::ops::ControlFlow;

use burn_gpt_oss::{GenerateOptions, Generated, GptOss, generate};
use golden::Golden;
use model::{device, load, load_stored};

/// 60 tokens, more than three windows of the tiny model.
fn sequence() -> Vec<u32> {
    let output = Golden::open("tiny-gpt-oss-extra.safetensors").i64("greedy.output_ids");
    output.values.iter().map(|id| *id as u32).collect()
}

/// Parts of the sequence, of different lengths.
fn unequal_prompts() -> Vec<Vec<u32>> {
    let sequence = sequence();
    [0..3, 5..40, 7..8, 20..37, 0..20]
        .map(|part| sequence[part].to_vec())
        .to_vec()
}

fn run(model: &GptOss, prompts: &[Vec<u32>], options: &GenerateOptions) -> Vec<Generated> {
    let go_on = |_: &_| ControlFlow::Continue(());
    generate(model, prompts, options, &device(), go_on).expect("valid prompts")
}

fn tokens(results: &[Generated]) -> Vec<Vec<u32>> {
    results.iter().map(|result| result.tokens.clone()).collect()
}

fn tiny() -> GptOss {
    load("tiny-gpt-oss", &device())
}

fn stored() -> GptOss {
    load_stored("tiny-gpt-oss", &device())
}
