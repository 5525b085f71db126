//! Tokens with their probabilities, as clients ask for them.

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

fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { NEVER }
}
