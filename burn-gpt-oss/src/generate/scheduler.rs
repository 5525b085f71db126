//! Many requests at once: they wait in a fair queue, join the running ones as soon as their prompt is seen, and leave
//! when they end.

mod logprobs;
mod memory;
mod prefill;
mod queue;
mod request;
mod row;

use std::sync::atomic::Ordering;
use std::time::Instant;

use burn::tensor::Device;

pub use logprobs::{Logprob, TokenLogprobs};
pub use request::{Event, Request, RequestToken};

use super::batch::{ids, last_logits};
use super::prefix_cache::PrefixCache;
use crate::error::GptOssError;
use crate::kv_cache::KvCache;
use crate::model::GptOss;
use prefill::Prefill;
use queue::FairQueue;
use row::Row;

/// Limits of a [`Scheduler`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// Sequences that are generated together.
    pub max_running: usize,
    /// Requests that wait, at most.
    pub max_queued: usize,
    /// Tokens of a prompt that are seen between two steps of the running sequences.
    pub prefill_tokens: usize,
    /// Memory for beginnings of prompts, in bytes; 0 keeps none.
    pub prefix_bytes: usize,
    /// Memory for keys and values of running sequences at their full length, in bytes: others wait.
    pub cache_bytes: usize,
}

impl Default for SchedulerOptions {
    /// 8 sequences together, 128 waiting, 256 tokens of a prompt at a time, 512 MB for beginnings of prompts, 8 GB for
    /// running sequences.
    fn default() -> Self {
        Self {
            max_running: 8,
            max_queued: 128,
            prefill_tokens: 256,
            prefix_bytes: 512 << 20,
            cache_bytes: 8 << 30,
        }
    }
}

/// What a scheduler does and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Requests that wait.
    pub queued: usize,
    /// Sequences that are generated.
    pub running: usize,
    /// Memory of keys and values of running sequences, in bytes.
    pub cache_bytes: usize,
    /// Memory of beginnings of prompts, in bytes.
    pub prefix_bytes: usize,
    /// Tokens of prompts that were computed.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were known.
    pub cached_tokens: u64,
    /// Tokens that were generated.
    pub new_tokens: u64,
}

/// Generates for many requests with one model.
///
/// A step sees a part of one prompt, then takes one token for every running sequence, so that a long prompt does not
/// stop the others. A sequence does not depend on what is generated beside it, apart from the rounding of sums.
pub struct Scheduler {
    model: GptOss,
    device: Device,
    options: SchedulerOptions,
    queue: FairQueue,
    prefill: Option<Prefill>,
    rows: Vec<Row>,
    cache: KvCache,
    prefixes: PrefixCache,
    stats: SchedulerStats,
}

impl Scheduler {
    /// A scheduler without requests.
    pub fn new(model: GptOss, device: &Device, options: SchedulerOptions) -> Self {
        Self {
            cache: KvCache::new(model.config(), Vec::new()),
            model,
            device: device.clone(),
            queue: FairQueue::default(),
            prefill: None,
            rows: Vec::new(),
            prefixes: PrefixCache::new(options.prefix_bytes),
            options,
            stats: SchedulerStats::default(),
        }
    }

    /// The model.
    pub fn model(&self) -> &GptOss {
        &self.model
    }

    /// What it does and has done.
    pub fn stats(&self) -> SchedulerStats {
        SchedulerStats {
            queued: self.queue.len(),
            running: self.rows.len() + usize::from(self.prefill.is_some()),
            cache_bytes: self.cache.n_bytes(),
            prefix_bytes: self.prefixes.n_bytes(),
            ..self.stats
        }
    }

    /// Puts a request behind others of its client; clients take turns.
    ///
    /// # Errors
    /// [`GptOssError::QueueFull`]; an empty prompt, one that is too long for the context or for the memory of running
    /// sequences, tokens outside the vocabulary; sampling parameters out of range.
    pub fn submit(&mut self, request: Request) -> Result<(), GptOssError> {
        self.submit_all(vec![request])
    }

    /// [`submit`](Self::submit) of several requests: all of them or none.
    ///
    /// # Errors
    /// Those of `submit`.
    pub fn submit_all(&mut self, requests: Vec<Request>) -> Result<(), GptOssError> {
        let config = self.model.config();
        for request in &requests {
            request.check(config)?;
            let needed = memory::of_sequences(config, 1, request.full_length());
            if needed > self.options.cache_bytes {
                let reason = format!(
                    "its keys and values would take {} MB, more than the {} MB for running sequences",
                    needed >> 20,
                    self.options.cache_bytes >> 20
                );
                return Err(GptOssError::Prompt { prompt: 0, reason });
            }
        }
        let limit = self.options.max_queued;
        if self.queue.len() + requests.len() > limit {
            return Err(GptOssError::QueueFull { limit });
        }
        requests
            .into_iter()
            .for_each(|request| self.queue.push(request));
        Ok(())
    }

    /// Tells all requests that they failed, and forgets them and everything that was computed: for a caller that goes on
    /// after a panic.
    pub fn reset(&mut self, reason: &str) {
        let error = GptOssError::Device {
            action: "go on",
            message: reason.into(),
        };
        self.fail_all(&error);
        (self.rows, self.prefill) = (Vec::new(), None);
        self.cache = KvCache::new(self.model.config(), Vec::new());
        self.prefixes = PrefixCache::new(self.options.prefix_bytes);
    }

    /// Whether there is something to do.
    pub fn is_busy(&self) -> bool {
        self.prefill.is_some() || !self.rows.is_empty() || self.queue.len() > 0
    }

    /// Goes on by a part of a prompt and one token for each running sequence. What fails is told to the requests it
    /// concerns.
    pub fn step(&mut self) {
        self.drop_ended();
        if let Err(error) = self.see_prompt().and_then(|()| self.decode()) {
            self.fail_all(&error);
        }
        self.drop_ended();
    }

    fn decode(&mut self) -> Result<(), GptOssError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let last = self
            .rows
            .iter()
            .map(|row| &row.tokens[row.tokens.len() - 1..]);
        let hidden = self
            .model
            .forward_cached(ids(last, &self.device), &mut self.cache);
        let mut logits = last_logits(&self.model, hidden)?;
        let vocab = logits.len() / self.rows.len();
        for (row, logits) in self.rows.iter_mut().zip(logits.chunks_mut(vocab)) {
            row.choose(logits);
            self.stats.new_tokens += 1;
        }
        Ok(())
    }

    /// Lets go of sequences that have ended or that nobody waits for.
    fn drop_ended(&mut self) {
        let now = Instant::now();
        if self
            .prefill
            .as_mut()
            .is_some_and(|prefill| !prefill.row.goes_on(now))
        {
            self.prefill = None;
        }
        let open: Vec<usize> = (0..self.rows.len())
            .filter(|i| self.rows[*i].goes_on(now))
            .collect();
        if open.len() < self.rows.len() {
            match open.is_empty() {
                true => self.cache = KvCache::new(self.model.config(), Vec::new()),
                false => self.cache.keep_rows(&open, &self.device),
            }
            self.rows.retain(Row::is_open);
        }
        self.queue.drop_unwanted();
    }

    fn fail_all(&mut self, error: &GptOssError) {
        let rows = self.rows.iter_mut();
        let prefill = self.prefill.iter_mut().map(|prefill| &mut prefill.row);
        rows.chain(prefill).for_each(|row| row.fail(error));
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let ended = GptOssError::Device {
            action: "go on",
            message: "the scheduler has ended".into(),
        };
        self.fail_all(&ended);
    }
}

/// Whether a flag is set that says that nobody waits.
fn is_set(flag: &std::sync::atomic::AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}
