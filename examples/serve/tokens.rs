//! Tokens with their probabilities, as clients ask for them.

use std::collections::VecDeque;

use burn_gpt_oss::{RequestToken, Tokenizer};
use serde_json::{Value, json};

/// The logarithm of a probability that is zero: JSON has no infinity.
const NEVER: f32 = -9999.0;

/// A token, its probability and those in its place.
#[derive(Clone, Debug)]
pub struct TokenInfo {
    pub bytes: Vec<u8>,
    pub logprob: f32,
    pub top: Vec<(Vec<u8>, f32)>,
}

impl TokenInfo {
    /// None if no probabilities were asked for.
    pub fn of(token: &RequestToken, tokenizer: &Tokenizer) -> Option<Self> {
        let logprobs = token.logprobs.as_ref()?;
        let bytes = |id| tokenizer.token_bytes(id).unwrap_or_default();
        let top = logprobs.top.iter();
        Some(Self {
            bytes: bytes(token.token),
            logprob: finite(logprobs.logprob),
            top: top
                .map(|top| (bytes(top.token), finite(top.logprob)))
                .collect(),
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The entry of chat completions and responses.
    pub fn to_json(&self) -> Value {
        let entry = |bytes: &[u8], logprob: f32| json!({"token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes});
        let top: Vec<Value> = self
            .top
            .iter()
            .map(|(bytes, logprob)| entry(bytes, *logprob))
            .collect();
        let mut json = entry(&self.bytes, self.logprob);
        json["top_logprobs"] = json!(top);
        json
    }
}

/// Tokens whose text is not told yet.
#[derive(Default)]
pub struct Held {
    tokens: VecDeque<TokenInfo>,
    /// Bytes that were told and belong to the first of them.
    told: usize,
}

impl Held {
    pub fn push(&mut self, token: TokenInfo) {
        self.tokens.push_back(token);
    }

    /// The tokens that are complete with this text.
    pub fn told(&mut self, text: &str) -> Vec<TokenInfo> {
        self.told += text.len();
        let mut complete = Vec::new();
        while let Some(first) = self.tokens.front() {
            // Characters that were no UTF-8 are longer as text than as bytes.
            if first.bytes.len() > self.told {
                break;
            }
            self.told -= first.bytes.len();
            complete.extend(self.tokens.pop_front());
        }
        complete
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { NEVER }
}
