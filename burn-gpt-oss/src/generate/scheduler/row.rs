//! A sequence that is generated.

use std::collections::BTreeMap;
use std::time::Instant;

use super::is_set;
use super::logprobs::{TokenLogprobs, log_sum, top};
use super::request::{Event, Request, RequestToken};
use crate::error::GptOssError;
use crate::generate::{Finish, Sampler};

pub(super) struct Row {
    request: Request,
    /// Prompt and continuation.
    pub tokens: Vec<u32>,
    n_new: usize,
    sampler: Sampler,
    /// How often tokens were generated.
    counts: BTreeMap<u32, u32>,
    ended: bool,
}

impl Row {
    /// A sequence of which so many tokens are known already.
    pub fn new(mut request: Request, cached_tokens: usize) -> Self {
        (request.sink)(Event::Started { cached_tokens });
        Self {
            tokens: request.prompt.clone(),
            n_new: 0,
            sampler: Sampler::new(&request.sampling, 0),
            counts: BTreeMap::new(),
            ended: false,
            request,
        }
    }

    pub fn full_length(&self) -> usize {
        self.request.full_length()
    }

    pub fn is_open(&self) -> bool {
        !self.ended
    }

    /// Whether it goes on, unless nobody waits for it.
    pub fn goes_on(&mut self, now: Instant) -> bool {
        if self.ended || is_set(&self.request.cancelled) {
            self.ended = true;
        } else if self
            .request
            .deadline
            .is_some_and(|deadline| deadline <= now)
        {
            self.ended = true;
            (self.request.sink)(Event::TimedOut);
        }
        !self.ended
    }

    pub fn fail(&mut self, error: &GptOssError) {
        if !self.ended {
            self.ended = true;
            (self.request.sink)(Event::Failed(error.to_string()));
        }
    }

    /// Takes a token by its logits, which are overwritten.
    pub fn choose(&mut self, logits: &mut [f32]) {
        let n_top = self.request.logprobs;
        let likely = n_top.map(|n| {
            let sum = log_sum(logits);
            (sum, top(logits, n, sum))
        });
        let raw = |token: u32, logits: &[f32]| logits.get(token as usize).copied();
        let before = n_top.map(|_| logits.to_vec());
        self.apply_rules(logits);
        let token = match self.sampler.choose(logits, &self.tokens) {
            Ok(token) => token,
            Err(error) => return self.fail(&error),
        };
        let logprobs = likely
            .zip(before)
            .map(|((sum, top), before)| TokenLogprobs {
                logprob: raw(token, &before)
                    .map_or(f32::NEG_INFINITY, |x| (f64::from(x) - sum) as f32),
                top,
            });
        self.tokens.push(token);
        self.n_new += 1;
        *self.counts.entry(token).or_default() += 1;
        let finish = if self.request.stop_tokens.contains(&token) {
            Some(Finish::StopToken)
        } else {
            (self.n_new >= self.request.max_new_tokens).then_some(Finish::Length)
        };
        self.ended = finish.is_some();
        (self.request.sink)(Event::Token(RequestToken {
            token,
            finish,
            logprobs,
        }));
    }

    /// What the request asks for beside the probabilities of the model.
    fn apply_rules(&self, logits: &mut [f32]) {
        let [frequency, presence] = self.request.penalties;
        for (token, count) in &self.counts {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit -= frequency * *count as f32 + presence;
            }
        }
        for (token, bias) in &self.request.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        let Some(allowed) = self.allowed() else {
            return;
        };
        let logit = |token: &u32| (*token as usize, logits.get(*token as usize).copied());
        let kept: Vec<_> = allowed.iter().map(logit).collect();
        logits.fill(f32::NEG_INFINITY);
        for (token, logit) in kept {
            if let (Some(place), Some(logit)) = (logits.get_mut(token), logit) {
                *place = logit;
            }
        }
    }

    /// The tokens that may come next, while the answer is still one of the beginnings that were asked for.
    fn allowed(&self) -> Option<Vec<u32>> {
        let so_far = &self.tokens[self.request.prompt.len()..];
        let beginnings = &self.request.beginnings;
        // One that is complete leaves the model free.
        if beginnings
            .iter()
            .any(|beginning| so_far.starts_with(beginning))
        {
            return None;
        }
        let fits = beginnings
            .iter()
            .filter(|beginning| beginning.starts_with(so_far));
        let next: Vec<u32> = fits.map(|beginning| beginning[so_far.len()]).collect();
        (!next.is_empty()).then_some(next)
    }
}
