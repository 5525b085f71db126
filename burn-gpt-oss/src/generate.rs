use std::ops::ControlFlow;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::GptOssError;
use crate::model::GptOss;

/// Limits of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerateOptions {
    /// Most tokens to generate per prompt.
    pub max_new_tokens: usize,
    /// Tokens that end a sequence; the one that ended it is part of the result.
    pub stop_tokens: Vec<u32>,
    /// Prompts computed together.
    pub batch_size: usize,
}

/// One generated continuation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens, without the prompt.
    pub tokens: Vec<u32>,
    /// Whether a stop token ended it (else the limit or the caller did).
    pub finished: bool,
}

/// Continues each prompt with the most likely token, again and again. Every token recomputes its
/// whole sequence: exact and simple, for evaluation of short answers.
///
/// `observe` is called after every token of a batch with the number of finished prompts so far;
/// [`ControlFlow::Break`] ends the generation with what was reached.
///
/// # Errors
/// An empty prompt, or one that leaves no room for `max_new_tokens` in the model's context.
pub fn generate_greedy(
    model: &GptOss,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    device: &Device,
    mut observe: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<Generated>, GptOssError> {
    check(model, prompts, options)?;
    let mut results = vec![Generated::default(); prompts.len()];
    // Prompts of similar length share a batch, so that little is spent on padding.
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(prompts[*i].len()));
    let mut done = 0;
    for batch in order.chunks(options.batch_size.max(1)) {
        let mut open = batch.to_vec();
        for _ in 0..options.max_new_tokens {
            step(model, prompts, &mut results, &open, options, device);
            open.retain(|i| !results[*i].finished);
            if observe(done + batch.len() - open.len()).is_break() {
                return Ok(results);
            }
            if open.is_empty() {
                break;
            }
        }
        done += batch.len();
    }
    Ok(results)
}

/// Adds one token to every open sequence.
fn step(
    model: &GptOss,
    prompts: &[Vec<u32>],
    results: &mut [Generated],
    open: &[usize],
    options: &GenerateOptions,
    device: &Device,
) {
    let sequences: Vec<Vec<u32>> = open
        .iter()
        .map(|i| [prompts[*i].as_slice(), &results[*i].tokens].concat())
        .collect();
    for (i, token) in open.iter().zip(next_tokens(model, &sequences, device)) {
        results[*i].tokens.push(token);
        results[*i].finished = options.stop_tokens.contains(&token);
    }
}

/// The most likely next token of each sequence.
fn next_tokens(model: &GptOss, sequences: &[Vec<u32>], device: &Device) -> Vec<u32> {
    let len = sequences.iter().map(Vec::len).max().unwrap_or(0);
    // Padding on the right needs no mask: no real token ever looks ahead.
    let ids: Vec<i32> = sequences
        .iter()
        .flat_map(|s| {
            s.iter()
                .map(|id| *id as i32)
                .chain(std::iter::repeat_n(0, len - s.len()))
        })
        .collect();
    let last: Vec<i32> = sequences
        .iter()
        .enumerate()
        .map(|(row, s)| (row * len + s.len() - 1) as i32)
        .collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [sequences.len(), len]), device);
    let last = Tensor::<1, Int>::from_data(TensorData::new(last, [sequences.len()]), device);

    let hidden = model.hidden_states(ids, None, |_| {});
    let width = hidden.dims()[2];
    let hidden = hidden
        .reshape([sequences.len() * len, width])
        .select(0, last);
    let best = model.lm_head.forward(hidden).argmax(1);
    best.into_data().iter::<i64>().map(|id| id as u32).collect()
}

fn check(
    model: &GptOss,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
) -> Result<(), GptOssError> {
    let limit = model.config().max_position_embeddings;
    let vocab = model.config().vocab_size;
    for (i, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() {
            return Err(GptOssError::Conversation {
                message: i,
                reason: "the prompt is empty".into(),
            });
        }
        if prompt.len() + options.max_new_tokens > limit {
            let reason = format!(
                "{} prompt tokens and {} new ones exceed the context of {limit} tokens",
                prompt.len(),
                options.max_new_tokens
            );
            return Err(GptOssError::Conversation { message: i, reason });
        }
        if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab) {
            let reason = format!("token {id} is outside the vocabulary of {vocab}");
            return Err(GptOssError::Conversation { message: i, reason });
        }
    }
    Ok(())
}
