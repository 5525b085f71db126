//! How an answer is generated: what chat completions, completions and responses have in common.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use burn_gpt_oss::{Sampling, StopStrings};
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, wrong_type};
use crate::state::{State, logit_bias};

/// Stop strings of one request, as OpenAI limits them.
const MAX_STOPS: usize = 4;

#[derive(Clone, Debug)]
pub struct Options {
    pub sampling: Sampling,
    pub penalties: [f32; 2],
    pub logit_bias: BTreeMap<u32, f32>,
    pub stop: Vec<String>,
    pub n: usize,
    pub logprobs: Option<usize>,
    pub stream: bool,
    pub include_usage: bool,
}

impl Options {
    pub fn of(fields: &Fields<'_>, state: &State) -> Result<Self, ApiError> {
        let number = |key: &str, range, default: f32| {
            let found = fields.number(key, range)?;
            Ok::<_, ApiError>(found.map_or(default, |number| number as f32))
        };
        let seed = fields.integer("seed", i64::MIN..=i64::MAX)?;
        let top_p = number("top_p", 0.0..=1.0, 1.0)?;
        let sampling = Sampling {
            // Nothing but the most likely token is within 0.
            temperature: if top_p == 0.0 {
                0.0
            } else {
                number("temperature", 0.0..=2.0, state.temperature)?
            },
            top_k: fields.integer("top_k", -1..=1 << 24)?.unwrap_or(0).max(0) as usize,
            top_p,
            min_p: number("min_p", 0.0..=1.0, 0.0)?,
            repetition_penalty: number("repetition_penalty", 0.01..=100.0, 1.0)?,
            seed: seed.map_or_else(random_seed, |seed| seed as u64),
        };
        let stream = fields.flag("stream")?.unwrap_or(false);
        let stream_options = fields.object("stream_options")?;
        if stream_options.is_some() && !stream {
            let message = "'stream_options' is only allowed when 'stream' is true.";
            return Err(ApiError::bad_request(
                "invalid_value",
                "stream_options",
                message,
            ));
        }
        let include_usage = stream_options
            .map(|options| options.flag("include_usage"))
            .transpose()?;
        Ok(Self {
            sampling,
            penalties: [
                number("frequency_penalty", -2.0..=2.0, 0.0)?,
                number("presence_penalty", -2.0..=2.0, 0.0)?,
            ],
            logit_bias: logit_bias(fields, state.config.vocab_size)?,
            stop: stops(fields)?,
            n: fields.integer("n", 1..=128)?.unwrap_or(1) as usize,
            logprobs: None,
            stream,
            include_usage: include_usage.flatten().unwrap_or(false),
        })
    }

    pub fn stop_strings(&self) -> Result<StopStrings, ApiError> {
        Ok(StopStrings::new(&self.stop)?)
    }
}

fn stops(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let stops: Vec<String> = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => {
            let text = |value: &Value| match value {
                Value::String(text) => Ok(text.clone()),
                other => Err(wrong_type("stop", "an array of strings", other)),
            };
            list.iter().map(text).collect::<Result<_, _>>()?
        }
        Some(other) => return Err(wrong_type("stop", "a string or an array of strings", other)),
    };
    if stops.len() > MAX_STOPS || stops.iter().any(String::is_empty) {
        let expected = format!("at most {MAX_STOPS} strings, none of them empty");
        return Err(ApiError::value(
            "stop",
            &expected,
            format!("{} strings", stops.len()),
        ));
    }
    Ok(stops)
}

/// Another one for each request.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
