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
/// `observe` is called after every pass over a batch with the number of prompts done so far;
/// [`ControlFlow::Break`] ends the generation with what was reached.
///
/// # Errors
/// An empty prompt, or one that leaves no room for `max_new_tokens` in the model's context.
pub fn generate_greedy(
    model: &GptOss,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    device: &Device,
    observe: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<Generated>, GptOssError> {
    let no_drafts = vec![Vec::new(); prompts.len()];
    generate_with_drafts(model, prompts, &no_drafts, options, device, observe)
}

/// As [`generate_greedy`], with a guess of each continuation. One pass checks a whole guess, and what
/// agrees with the most likely tokens is taken at once; the result does not depend on the guesses
/// (speculative decoding, Leviathan et al. 2023, with a given text in place of a draft model).
///
/// # Errors
/// As [`generate_greedy`].
///
/// # Panics
/// If there is not one draft, possibly empty, per prompt.
pub fn generate_with_drafts(
    model: &GptOss,
    prompts: &[Vec<u32>],
    drafts: &[Vec<u32>],
    options: &GenerateOptions,
    device: &Device,
    mut observe: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<Generated>, GptOssError> {
    assert_eq!(prompts.len(), drafts.len(), "one draft per prompt");
    check(model, prompts, drafts, options)?;
    let mut results = vec![Generated::default(); prompts.len()];
    // Prompts of similar length share a batch, so that little is spent on padding.
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(prompts[*i].len()));
    let mut done = 0;
    for batch in order.chunks(options.batch_size.max(1)) {
        let mut open = batch.to_vec();
        while !open.is_empty() && options.max_new_tokens > 0 {
            let row = |i: &usize| Row::new(&prompts[*i], &drafts[*i], &results[*i], options);
            let rows: Vec<Row> = open.iter().map(row).collect();
            for ((i, row), tokens) in open.iter().zip(&rows).zip(predict(model, &rows, device)) {
                results[*i].accept(&tokens, row.guess(), options);
            }
            open.retain(|i| {
                !results[*i].finished && results[*i].tokens.len() < options.max_new_tokens
            });
            if observe(done + batch.len() - open.len()).is_break() {
                return Ok(results);
            }
        }
        done += batch.len();
    }
    Ok(results)
}

impl Generated {
    /// Takes predictions one by one as long as the next one was made behind right guesses alone.
    fn accept(&mut self, predictions: &[u32], guess: &[u32], options: &GenerateOptions) {
        for (i, token) in predictions.iter().enumerate() {
            let guessed = guess.get(i) == Some(token);
            self.tokens.push(*token);
            self.finished = options.stop_tokens.contains(token);
            if self.finished || !guessed || self.tokens.len() == options.max_new_tokens {
                return;
            }
        }
    }
}

/// One sequence of a pass: prompt, tokens so far and a guess of what follows.
struct Row {
    tokens: Vec<u32>,
    /// Positions whose next token is predicted start here; the guess follows.
    first: usize,
}

impl Row {
    fn new(prompt: &[u32], draft: &[u32], result: &Generated, options: &GenerateOptions) -> Self {
        let guess = &draft[resume(draft, &result.tokens)..];
        // A guess of n tokens brings n + 1 predictions, and no more than the limit are wanted.
        let room = options.max_new_tokens - result.tokens.len();
        let guess = &guess[..guess.len().min(room.saturating_sub(1))];
        let tokens = [prompt, result.tokens.as_slice(), guess].concat();
        Self {
            first: tokens.len() - guess.len() - 1,
            tokens,
        }
    }

    fn guess(&self) -> &[u32] {
        &self.tokens[self.first + 1..]
    }
}

/// Where in a draft the text goes on: behind the place that agrees with most of the last tokens, the
/// one nearest to the same position where several do.
fn resume(draft: &[u32], tokens: &[u32]) -> usize {
    let agreement = |end: usize| {
        let pairs = draft[..end].iter().rev().zip(tokens.iter().rev());
        pairs.take_while(|(a, b)| a == b).count()
    };
    let ends = 0..=draft.len();
    ends.max_by_key(|end| {
        (
            agreement(*end),
            std::cmp::Reverse(end.abs_diff(tokens.len())),
        )
    })
    .unwrap_or_default()
}

/// The most likely next token at every position of each row from `first` on.
fn predict(model: &GptOss, rows: &[Row], device: &Device) -> Vec<Vec<u32>> {
    let len = rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
    // Padding on the right needs no mask: no real token ever looks ahead.
    let pad = |row: &Row| std::iter::repeat_n(0, len - row.tokens.len());
    let ids: Vec<i32> = rows
        .iter()
        .flat_map(|row| row.tokens.iter().map(|id| *id as i32).chain(pad(row)))
        .collect();
    let positions: Vec<i32> = rows
        .iter()
        .enumerate()
        .flat_map(|(i, row)| (row.first..row.tokens.len()).map(move |p| (i * len + p) as i32))
        .collect();
    let count = positions.len();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows.len(), len]), device);
    let positions = Tensor::<1, Int>::from_data(TensorData::new(positions, [count]), device);

    let hidden = model.hidden_states(ids, None, |_| {});
    let width = hidden.dims()[2];
    let hidden = hidden
        .reshape([rows.len() * len, width])
        .select(0, positions);
    let best = model.logits(hidden).argmax(1).into_data();
    let mut best = best.iter::<i64>().map(|id| id as u32);
    rows.iter()
        .map(|row| best.by_ref().take(row.tokens.len() - row.first).collect())
        .collect()
}

fn check(
    model: &GptOss,
    prompts: &[Vec<u32>],
    drafts: &[Vec<u32>],
    options: &GenerateOptions,
) -> Result<(), GptOssError> {
    let limit = model.config().max_position_embeddings;
    let vocab = model.config().vocab_size;
    for (prompt, (tokens, draft)) in prompts.iter().zip(drafts).enumerate() {
        let refuse = |reason| Err(GptOssError::Prompt { prompt, reason });
        if tokens.is_empty() {
            return refuse("it is empty".into());
        }
        if tokens.len() + options.max_new_tokens > limit {
            return refuse(format!(
                "{} prompt tokens and {} new ones exceed the context of {limit} tokens",
                tokens.len(),
                options.max_new_tokens
            ));
        }
        if let Some(id) = tokens.iter().chain(draft).find(|id| **id as usize >= vocab) {
            return refuse(format!("token {id} is outside the vocabulary of {vocab}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GptOssConfig;

    fn model(device: &Device) -> GptOss {
        device.seed(1);
        GptOssConfig {
            vocab_size: 64,
            hidden_size: 32,
            intermediate_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 16,
            num_local_experts: 4,
            num_experts_per_tok: 2,
            sliding_window: 4,
            layer_types: crate::config::alternating_layers(2),
            initializer_range: 0.5,
            ..GptOssConfig::gpt_oss_20b()
        }
        .init(device)
    }

    #[test]
    fn drafts_change_nothing_but_the_number_of_passes() {
        let device = Device::flex();
        let model = model(&device);
        let prompts: Vec<Vec<u32>> = vec![vec![1, 2, 3], vec![9], vec![5, 4, 3, 2, 1, 0]];
        let options = GenerateOptions {
            max_new_tokens: 12,
            stop_tokens: vec![7],
            batch_size: 2,
        };
        let run = |drafts: &[Vec<u32>]| {
            let mut passes = 0;
            let results = generate_with_drafts(&model, &prompts, drafts, &options, &device, |_| {
                passes += 1;
                ControlFlow::Continue(())
            });
            (results.expect("valid prompts"), passes)
        };
        let (plain, plain_passes) = run(&[vec![], vec![], vec![]]);
        let right: Vec<_> = plain.iter().map(|result| result.tokens.clone()).collect();
        let (checked, passes) = run(&right);
        assert_eq!(plain, checked);
        assert!(passes < plain_passes / 2, "{passes} of {plain_passes}");
        let mut wrong = right.clone();
        wrong[0][4] ^= 1;
        wrong[1] = vec![63; 40];
        wrong[2].extend([1, 2, 3]);
        let (checked, passes) = run(&wrong);
        assert_eq!(plain, checked);
        assert!(passes <= plain_passes);
    }

    #[test]
    fn unusable_prompts_are_refused() {
        let device = Device::flex();
        let model = model(&device);
        let options = GenerateOptions {
            max_new_tokens: 8,
            stop_tokens: vec![],
            batch_size: 4,
        };
        for (prompt, reason) in [
            (vec![], "empty"),
            (vec![1; 131_072], "context"),
            (vec![64], "vocabulary"),
        ] {
            let prompts = [vec![1], prompt];
            let result = generate_greedy(&model, &prompts, &options, &device, |_| {
                ControlFlow::Continue(())
            });
            let error = result.expect_err(reason).to_string();
            assert!(
                error.contains(reason) && error.contains("prompt 1"),
                "{error}"
            );
        }
    }
}
