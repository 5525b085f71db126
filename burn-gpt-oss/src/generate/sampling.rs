mod candidates;
mod exp;
#[cfg(test)]
mod tests;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::error::GptOssError;
use candidates::{Candidate, draw, kth_largest, select, weigh};

/// How the next token is chosen. The default is greedy: always the most likely one.
///
/// The steps, their order and their limits are those of the logits processors of Hugging Face
/// transformers: repetition penalty, temperature, `top_k`, `top_p`, `min_p`, then a draw by the
/// probabilities of the tokens that are left.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits: below 1 likely tokens become likelier. 0 takes the most likely token, of
    /// several the one with the lowest id.
    pub temperature: f32,
    /// Keeps the `top_k` most likely tokens, and those as likely as the last of them. 0 keeps all.
    pub top_k: usize,
    /// Keeps the smallest set of most likely tokens whose probabilities add up to at least `top_p`, and at
    /// least one token. Among equally likely tokens, those with lower ids come first. 1 keeps all.
    pub top_p: f32,
    /// Keeps the tokens whose probability is at least `min_p` times the highest one. 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of the tokens in the text so far, prompt
    /// included (Keskar et al. 2019): above 1 repetitions become less likely. 1 changes nothing.
    pub repetition_penalty: f32,
    /// Seed of the random numbers. Sequence `prompt * samples + sample` has a random stream of its own: the
    /// same seed, sequence number and logits give the same tokens, whatever else is in the batch.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self::greedy()
    }
}

impl Sampling {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }

    /// Whether nothing is left to chance. There may be a repetition penalty nevertheless.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Refuses settings out of range.
    pub(crate) fn check(&self) -> Result<(), GptOssError> {
        let refuse = |key: &str, expected: &str, found: f32| {
            Err(GptOssError::Setting {
                key: key.to_owned(),
                expected: expected.to_owned(),
                found: found.to_string(),
            })
        };
        let finite = 0.0..=f32::MAX;
        let share = 0.0..=1.0;
        if !finite.contains(&self.temperature) {
            return refuse("temperature", "0 or a positive number", self.temperature);
        }
        if !share.contains(&self.top_p) {
            return refuse("top_p", "a number from 0 to 1", self.top_p);
        }
        if !share.contains(&self.min_p) {
            return refuse("min_p", "a number from 0 to 1", self.min_p);
        }
        if !finite.contains(&self.repetition_penalty) || self.repetition_penalty == 0.0 {
            let penalty = self.repetition_penalty;
            return refuse("repetition_penalty", "a positive number", penalty);
        }
        Ok(())
    }
}

/// Chooses the tokens of one sequence.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    sequence: u64,
    random: ChaCha8Rng,
}

impl Sampler {
    /// The sampler of the sequence with a number of its own; `sampling` has passed its check.
    pub(crate) fn new(sampling: &Sampling, sequence: u64) -> Self {
        // Spelled out, because how a generator spreads a short seed is not a part of ChaCha.
        let mut key = [0; 32];
        key[..8].copy_from_slice(&sampling.seed.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(key);
        random.set_stream(sequence);
        Self {
            sampling: sampling.clone(),
            sequence,
            random,
        }
    }

    /// The next token, by one logit per token of the vocabulary, which are overwritten. `context`
    /// holds the prompt and the tokens so far.
    ///
    /// # Errors
    ///
    /// [`GptOssError::Logits`] if a logit is NaN or positive infinity, or none is finite.
    pub(crate) fn choose(
        &mut self,
        logits: &mut [f32],
        context: &[u32],
    ) -> Result<u32, GptOssError> {
        if self.sampling.repetition_penalty != 1.0 {
            penalize(logits, context, self.sampling.repetition_penalty);
        }
        let best = most_likely(logits).map_err(|reason| GptOssError::Logits {
            sequence: self.sequence,
            reason,
        })?;
        if self.sampling.is_greedy() {
            return Ok(best as u32);
        }
        let candidates = self.candidates(logits, logits[best]);
        Ok(draw(&candidates, self.uniform()))
    }

    /// What the filters leave of the vocabulary.
    fn candidates(&self, logits: &[f32], max: f32) -> Vec<Candidate> {
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            ..
        } = self.sampling;
        let floor = if (1..logits.len()).contains(&top_k) {
            kth_largest(logits, top_k)
        } else {
            f32::MIN
        };
        let mut candidates = weigh(logits, max, floor, temperature);
        select(&mut candidates, top_p, min_p);
        candidates
    }

    /// A number in `0.0..1.0`: the upper 53 bits of the next 64.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Applies the repetition penalty once to every token that occurs in `context`.
fn penalize(logits: &mut [f32], context: &[u32], penalty: f32) {
    let mut seen = vec![false; logits.len()];
    for id in context.iter().map(|id| *id as usize) {
        if let (Some(logit), Some(seen @ false)) = (logits.get_mut(id), seen.get_mut(id)) {
            *seen = true;
            *logit = if *logit > 0.0 {
                *logit / penalty
            } else {
                *logit * penalty
            };
        }
    }
}

/// The index of the highest logit, the first of several, or what is wrong with the logits.
fn most_likely(logits: &[f32]) -> Result<usize, String> {
    let mut best = None;
    let mut max = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > max {
            (best, max) = (Some(id), logit);
        } else if logit.is_nan() {
            return Err(format!("the logit of token {id} is NaN"));
        }
    }
    match best {
        Some(id) if max == f32::INFINITY => Err(format!("the logit of token {id} is infinite")),
        Some(id) => Ok(id),
        None => Err("no logit is finite".to_owned()),
    }
}
