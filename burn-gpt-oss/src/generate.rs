//! Text generation: prompts in, tokens out, one at a time.

mod batch;
mod options;
mod prefix_cache;
mod prompt_cache;
mod sampling;
mod scheduler;
mod stop_strings;
mod text;

use std::collections::VecDeque;
use std::ops::ControlFlow;

use burn::tensor::Device;

pub use options::GenerateOptions;
pub use prompt_cache::PromptCache;
pub use sampling::Sampling;
pub use scheduler::{
    Event, Logprob, Request, RequestToken, Scheduler, SchedulerOptions, SchedulerStats,
    TokenLogprobs,
};
pub use stop_strings::{StopPush, StopStrings};
pub use text::{GeneratedText, generate_text};

use crate::error::GptOssError;
use crate::model::GptOss;
use batch::Batch;
use sampling::Sampler;

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token was generated.
    StopToken,
    /// As many tokens as allowed were generated.
    Length,
    /// The caller ended it, for instance at a stop string.
    Ended,
}

/// One generated token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Number of the prompt.
    pub prompt: usize,
    /// Number of the continuation of that prompt.
    pub sample: usize,
    /// The token.
    pub token: u32,
    /// Set if the sequence ends with it.
    pub finish: Option<Finish>,
}

/// What one step of a [`Generation`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another part of the prompts of a batch was seen.
    Prefill {
        /// Columns seen; the longest prompt of the batch has a token in all of them.
        done: usize,
        /// Columns of the batch.
        total: usize,
    },
    /// Every open sequence has a new token.
    Tokens(Vec<NewToken>),
}

/// A generation that goes on step by step: nothing is computed before it is asked for, and dropping it
/// cancels it.
///
/// Keys and values of seen tokens are kept, so that a step costs the work of its own tokens. A sequence
/// does not depend on what is generated beside it, apart from the rounding of sums.
pub struct Generation<'a> {
    model: &'a GptOss,
    prompts: &'a [Vec<u32>],
    options: GenerateOptions,
    device: Device,
    waiting: VecDeque<Vec<usize>>,
    batch: Option<Batch>,
    prompt_cache: Option<&'a mut PromptCache>,
}

impl<'a> Generation<'a> {
    /// A generation that has not begun, on the device of the model.
    ///
    /// # Errors
    /// [`GptOssError::Prompt`] for an empty prompt, one that leaves no room for `max_new_tokens` in the
    /// model's context, and one with tokens outside the vocabulary; sampling parameters out of range.
    pub fn new(
        model: &'a GptOss,
        prompts: &'a [Vec<u32>],
        options: &GenerateOptions,
        device: &Device,
    ) -> Result<Self, GptOssError> {
        options.check(model.config(), prompts)?;
        // Prompts of similar length share a batch, so that little is spent on padding.
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|prompt| std::cmp::Reverse(prompts[*prompt].len()));
        if options.max_new_tokens == 0 {
            order.clear();
        }
        let batches = order.chunks(options.batch_size.max(1));
        Ok(Self {
            model,
            prompts,
            options: options.clone(),
            device: device.clone(),
            waiting: batches.map(<[usize]>::to_vec).collect(),
            batch: None,
            prompt_cache: None,
        })
    }

    /// Takes the keys and values of the prompt from a cache as far as it holds them, and stores those of
    /// this prompt, without its last token. The prompt must begin with all cached tokens and be longer;
    /// otherwise the whole prompt is computed.
    ///
    /// # Panics
    /// If there is more than one prompt.
    pub fn with_prompt_cache(mut self, cache: &'a mut PromptCache) -> Self {
        assert!(self.prompts.len() <= 1, "a prompt cache is for one prompt");
        self.prompt_cache = Some(cache);
        self
    }

    /// Goes on by one pass of the model; `None` when all sequences are finished, and after an error.
    ///
    /// # Errors
    /// Logits that are not numbers, and failures of the device.
    pub fn step(&mut self) -> Result<Option<Step>, GptOssError> {
        let step = self.advance();
        if step.is_err() {
            self.batch = None;
            self.waiting.clear();
        }
        step
    }

    fn advance(&mut self) -> Result<Option<Step>, GptOssError> {
        loop {
            if self.batch.is_none() && !self.begin() {
                return Ok(None);
            }
            let Some(batch) = &mut self.batch else {
                return Ok(None);
            };
            let (seen, total) = batch.seen();
            let (model, options, device) = (self.model, &self.options, &self.device);
            let tokens = match seen < total {
                true => {
                    let keep = self.prompt_cache.as_deref_mut();
                    batch.prefill(model, options, device, keep)?
                }
                false => batch.decode(model, options, device)?,
            };
            let done = batch.seen().0;
            if batch.is_done() {
                self.batch = None;
            }
            if !tokens.is_empty() {
                return Ok(Some(Step::Tokens(tokens)));
            }
            if done < total {
                return Ok(Some(Step::Prefill { done, total }));
            }
        }
    }

    /// Ends a sequence that has begun before its next token; others go on.
    pub fn end(&mut self, prompt: usize, sample: usize) {
        if let Some(batch) = &mut self.batch {
            batch.end(prompt, sample);
        }
    }

    /// Whether there was another batch to begin.
    fn begin(&mut self) -> bool {
        let Some(prompts) = self.waiting.pop_front() else {
            return false;
        };
        let cache = self.prompt_cache.as_deref();
        let start = cache.and_then(|cache| cache.beginning_of(&self.prompts[prompts[0]]));
        self.batch = Some(Batch::new(self.model, self.prompts, prompts, start));
        true
    }
}

/// One generated continuation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens, without the prompt.
    pub tokens: Vec<u32>,
    /// Why it ended; `None` if the whole generation was cancelled before.
    pub finish: Option<Finish>,
}

/// Continues all prompts: `options.samples` results per prompt, those of one prompt together.
///
/// `observe` is called after every step; [`ControlFlow::Break`] ends the generation with what was
/// reached.
///
/// # Errors
/// Those of [`Generation::new`] and [`Generation::step`].
pub fn generate(
    model: &GptOss,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    device: &Device,
    mut observe: impl FnMut(&Step) -> ControlFlow<()>,
) -> Result<Vec<Generated>, GptOssError> {
    let samples = options.samples.max(1);
    let mut results = vec![Generated::default(); prompts.len() * samples];
    let mut generation = Generation::new(model, prompts, options, device)?;
    while let Some(step) = generation.step()? {
        if let Step::Tokens(tokens) = &step {
            for new in tokens {
                let result = &mut results[new.prompt * samples + new.sample];
                result.tokens.push(new.token);
                result.finish = new.finish;
            }
        }
        if observe(&step).is_break() {
            break;
        }
    }
    Ok(results)
}
