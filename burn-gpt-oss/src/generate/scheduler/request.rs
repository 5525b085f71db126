use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::{TokenLogprobs, is_set};
use crate::config::GptOssConfig;
use crate::error::GptOssError;
use crate::generate::{Finish, GenerateOptions, Sampling};

/// What is to be generated, and where it goes.
pub struct Request {
    /// Who asks: clients take turns.
    pub client: u64,
    /// The prompt.
    pub prompt: Vec<u32>,
    /// Most tokens to generate.
    pub max_new_tokens: usize,
    /// Tokens that end it.
    pub stop_tokens: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Added to the logits of tokens.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Subtracted from the logit of a token for each time it was generated, and once if it was generated at all.
    pub penalties: [f32; 2],
    /// The answer begins with one of these.
    pub beginnings: Vec<Vec<u32>>,
    /// How many of the most likely tokens are told with each token, and its own probability; none tells neither.
    pub logprobs: Option<usize>,
    /// Numbers of tokens after which the beginning of the prompt is worth keeping for other prompts.
    pub boundaries: Vec<usize>,
    /// When nobody waits any more.
    pub deadline: Option<Instant>,
    /// Set by the caller if nobody waits any more.
    pub cancelled: Arc<AtomicBool>,
    /// Gets everything that happens.
    pub sink: Box<dyn FnMut(Event) + Send>,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its prompt is being seen; this many of its tokens were known.
    Started {
        /// Tokens at the beginning of the prompt whose keys and values were kept.
        cached_tokens: usize,
    },
    /// A new token.
    Token(RequestToken),
    /// Nothing more will come, because of this.
    Failed(String),
    /// Nothing more will come: the deadline has passed.
    TimedOut,
}

/// A token of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestToken {
    /// The token.
    pub token: u32,
    /// Set if it is the last one.
    pub finish: Option<Finish>,
    /// The probabilities that were asked for.
    pub logprobs: Option<TokenLogprobs>,
}

impl Request {
    /// A greedy request without any extras.
    pub fn new(
        prompt: Vec<u32>,
        max_new_tokens: usize,
        sink: impl FnMut(Event) + Send + 'static,
    ) -> Self {
        Self {
            client: 0,
            prompt,
            max_new_tokens,
            stop_tokens: Vec::new(),
            sampling: Sampling::greedy(),
            logit_bias: BTreeMap::new(),
            penalties: [0.0; 2],
            beginnings: Vec::new(),
            logprobs: None,
            boundaries: Vec::new(),
            deadline: None,
            cancelled: Arc::default(),
            sink: Box::new(sink),
        }
    }

    pub(super) fn check(&self, config: &GptOssConfig) -> Result<(), GptOssError> {
        let options = GenerateOptions {
            max_new_tokens: self.max_new_tokens,
            sampling: self.sampling.clone(),
            ..GenerateOptions::default()
        };
        options.check(config, std::slice::from_ref(&self.prompt))
    }

    /// Tokens at the end, if it is not ended before.
    pub(super) fn full_length(&self) -> usize {
        self.prompt.len() + self.max_new_tokens
    }

    /// Whether somebody still waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        !is_set(&self.cancelled) && !self.is_late()
    }

    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Tells that it will not be generated.
    pub(super) fn reject(mut self) {
        if self.is_late() {
            (self.sink)(Event::TimedOut);
        }
    }
}
