//! What all handlers share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use burn_gpt_oss::{GptOssConfig, ReasoningEffort, RenderOptions, Request, Tokenizer};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::engine::{Engine, Ticket};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::stored::Stored;

pub struct State {
    pub engine: Engine,
    pub tokenizer: &'static Tokenizer,
    pub config: GptOssConfig,
    /// Under which the model is served.
    pub model: String,
    /// Other names are served, too.
    pub any_model: bool,
    pub stop_tokens: Vec<u32>,
    pub render: RenderOptions,
    pub date: String,
    pub effort: ReasoningEffort,
    pub temperature: f32,
    /// Most tokens of one answer.
    pub max_tokens: usize,
    pub timeout: Duration,
    pub max_body: usize,
    pub api_key: Option<String>,
    pub created: u64,
    pub metrics: Metrics,
    pub stored: Stored,
    pub stopping: AtomicBool,
    pub max_queued: usize,
    /// Requests that are read at once.
    pub places: Semaphore,
}

impl State {
    /// Seconds since 1970.
    pub fn now() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    /// A name that nobody guesses.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}{:032x}", rand::random::<u128>())
    }

    /// The model that a request names, or an error if it is another one.
    pub fn model_of(&self, fields: &Fields<'_>) -> Result<String, ApiError> {
        match fields.text("model")? {
            None => Ok(self.model.clone()),
            Some(name) if name == self.model || self.any_model => Ok(name.to_owned()),
            Some(name) => Err(self.no_model(name)),
        }
    }

    pub fn no_model(&self, name: &str) -> ApiError {
        let message = format!("The model `{name}` does not exist or you do not have access to it.");
        ApiError::new(
            axum::http::StatusCode::NOT_FOUND,
            Some("model_not_found"),
            message,
        )
    }

    /// How many tokens may follow a prompt: as many as asked, or as fit.
    pub fn room(
        &self,
        prompt: usize,
        asked: Option<usize>,
        param: &str,
    ) -> Result<usize, ApiError> {
        let limit = self.config.max_position_embeddings;
        let room = limit.saturating_sub(prompt);
        if prompt == 0 || room == 0 {
            let message = match prompt {
                0 => "The prompt is empty.".to_owned(),
                _ => format!(
                    "This model's maximum context length is {limit} tokens. However, your messages resulted in \
                     {prompt} tokens. Please reduce the length of the messages."
                ),
            };
            let code = if prompt == 0 {
                "invalid_value"
            } else {
                "context_length_exceeded"
            };
            return Err(ApiError::bad_request(code, param, message));
        }
        Ok(asked
            .unwrap_or(self.max_tokens)
            .min(self.max_tokens)
            .min(room))
    }

    /// Submits requests, all of them or none.
    pub async fn submit(&self, requests: Vec<Request>) -> Result<Vec<Ticket>, ApiError> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(ApiError::shutting_down());
        }
        if requests.len() > self.max_queued {
            let message = format!(
                "At most {} answers may be asked for at once.",
                self.max_queued
            );
            return Err(ApiError::bad_request(
                "integer_above_max_value",
                "n",
                message,
            ));
        }
        self.engine.submit(requests).await
    }

    /// What the options say, `n` times with seeds of their own.
    pub fn requests(&self, client: u64, work: &Work<'_>) -> Vec<Request> {
        let request = |sample: usize| {
            let mut sampling = work.options.sampling.clone();
            sampling.seed = sampling.seed.wrapping_add(sample as u64);
            Request {
                client,
                prompt: work.prompt.to_vec(),
                max_new_tokens: work.max_new_tokens,
                stop_tokens: work.stop_tokens.to_vec(),
                sampling,
                logit_bias: work.options.logit_bias.clone(),
                penalties: work.options.penalties,
                beginnings: work.beginnings.to_vec(),
                logprobs: work.options.logprobs,
                boundaries: self.boundaries(work.prompt),
                deadline: Some(Instant::now() + self.timeout),
                ..Request::new(Vec::new(), 0, |_| {})
            }
        };
        (0..work.options.n).map(request).collect()
    }

    /// Runs work that takes a while, such as tokenizing, beside the connections.
    pub async fn apart<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let failed = || ApiError::internal("The request could not be read.");
        let _place = self.places.acquire().await.map_err(|_| failed())?;
        let state = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&state));
        done.await.map_err(|_| failed())?
    }

    /// Where other prompts may part from this one: behind the first messages, which instruct, and before the turn
    /// that is to be generated.
    fn boundaries(&self, prompt: &[u32]) -> Vec<usize> {
        let Some(end) = self.tokenizer.special_token("<|end|>") else {
            return Vec::new();
        };
        let is_end = |(_, token): &(usize, &u32)| **token == end;
        let ends: Vec<usize> = prompt
            .iter()
            .enumerate()
            .filter(is_end)
            .map(|(i, _)| i + 1)
            .collect();
        let mut boundaries: Vec<usize> = ends.iter().copied().take(2).collect();
        boundaries.extend(ends.last());
        boundaries.dedup();
        boundaries
    }
}

/// A generation that is asked for.
pub struct Work<'a> {
    pub prompt: &'a [u32],
    pub max_new_tokens: usize,
    pub stop_tokens: &'a [u32],
    pub beginnings: &'a [Vec<u32>],
    pub options: &'a Options,
}

/// Numbers of tokens with what is added to their logits.
pub fn logit_bias(fields: &Fields<'_>, vocab: usize) -> Result<BTreeMap<u32, f32>, ApiError> {
    let Some(bias) = fields.object("logit_bias")? else {
        return Ok(BTreeMap::new());
    };
    let Some(Value::Object(map)) = fields.get("logit_bias") else {
        return Ok(BTreeMap::new());
    };
    let mut found = BTreeMap::new();
    for key in map.keys() {
        let id = key.parse::<u32>().ok().filter(|id| (*id as usize) < vocab);
        let id = id.ok_or_else(|| {
            let expected = format!("a token id below {vocab}");
            ApiError::value("logit_bias", &expected, key)
        })?;
        if let Some(value) = bias.number(key, -100.0..=100.0)? {
            found.insert(id, value as f32);
        }
    }
    Ok(found)
}
