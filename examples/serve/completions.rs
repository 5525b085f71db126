//! `/v1/completions`: a text goes on, without any chat around it.

mod text;

use std::sync::Arc;

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use burn_gpt_oss::Request;
use serde_json::{Value, json};

use crate::answer::Usage;
use crate::chat::{FINGERPRINT, usage};
use crate::error::ApiError;
use crate::fields::{Fields, wrong_type};
use crate::http::{Body, Client};
use crate::options::Options;
use crate::sse::{self, Events};
use crate::state::{State, Work};
use crate::tokens::TokenInfo;
use text::Text;

/// What is generated unless the client says how much.
const DEFAULT_TOKENS: usize = 16;

/// A request that was read.
struct Prepared {
    head: Head,
    options: Options,
    total: Usage,
    /// What stands before each answer, where it is asked for.
    echoes: Vec<Option<String>>,
    requests: Vec<Request>,
}

pub async fn complete(
    extract::State(state): extract::State<Arc<State>>,
    Client(client): Client,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let prepared = state
        .apart(move |state| prepare(state, client, &body))
        .await?;
    let Prepared {
        head,
        options,
        mut total,
        echoes,
        requests,
    } = prepared;
    let mut texts = Vec::new();
    for (ticket, echo) in state.submit(requests).await?.into_iter().zip(echoes) {
        let stop = options.stop_strings()?;
        texts.push(Text::new(ticket, state.tokenizer, stop, echo));
    }
    let asked = options.logprobs.is_some();
    if options.stream {
        let with_usage = options.include_usage;
        return Ok(sse::response(|events| {
            stream(head, texts, (total, with_usage, asked), events)
        }));
    }
    let mut choices = Vec::new();
    for (index, mut text) in texts.into_iter().enumerate() {
        let (mut whole, mut tokens) = (String::new(), Vec::new());
        while let Some((piece, complete)) = text.next().await? {
            whole.push_str(&piece);
            tokens.extend(complete);
        }
        total.completion += text.n_tokens;
        total.cached += text.cached;
        choices.push(choice(
            index,
            &whole,
            (asked, &tokens, 0),
            Some(text.reason()),
        ));
    }
    let mut answer = object(&head, json!(choices));
    answer["usage"] = usage(&total);
    Ok(Json(answer).into_response())
}

fn prepare(state: &State, client: u64, body: &Value) -> Result<Prepared, ApiError> {
    let fields = Fields::of(body)?;
    let head = (state.id("cmpl-"), State::now(), state.model_of(&fields)?);
    let mut options = Options::of(&fields, state)?;
    options.logprobs = fields.integer("logprobs", 0..=5)?.map(|n| n as usize);
    if fields.get("suffix").is_some() {
        return Err(ApiError::unsupported(
            "suffix",
            "This model does not fill gaps.",
        ));
    }
    let best = fields.integer("best_of", 1..=128)?;
    if best.is_some_and(|best| best as usize > options.n) {
        return Err(ApiError::unsupported(
            "best_of",
            "'best_of' above 'n' is not offered.",
        ));
    }
    let echo = fields.flag("echo")?.unwrap_or(false);
    if echo && options.logprobs.is_some() {
        let message = "Probabilities of the prompt are not offered: 'echo' or 'logprobs'.";
        return Err(ApiError::unsupported("echo", message));
    }
    let asked = fields.integer("max_tokens", 1..=i64::MAX)?;
    let asked = asked.map_or(DEFAULT_TOKENS, |tokens| tokens as usize);
    let (mut requests, mut echoes, mut total) = (Vec::new(), Vec::new(), Usage::default());
    for prompt in &prompts(&fields, state)? {
        let work = Work {
            prompt,
            max_new_tokens: state.room(prompt.len(), Some(asked), "prompt")?,
            stop_tokens: &state.stop_tokens,
            beginnings: &[],
            options: &options,
        };
        total.prompt += prompt.len();
        requests.extend(state.requests(client, &work));
        let echoed = echo.then(|| state.tokenizer.decode_without_special_tokens(prompt));
        echoes.extend(std::iter::repeat_n(echoed, options.n));
    }
    Ok(Prepared {
        head,
        options,
        total,
        echoes,
        requests,
    })
}

type Head = (String, u64, String);

fn object((id, created, model): &Head, choices: Value) -> Value {
    json!({
        "id": id,
        "object": "text_completion",
        "created": created,
        "model": model,
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    })
}

fn choice(
    index: usize,
    text: &str,
    (asked, tokens, offset): (bool, &[TokenInfo], usize),
    finish: Option<&str>,
) -> Value {
    let logprobs = asked.then(|| {
        let mut at = offset;
        let mut offsets = Vec::new();
        for token in tokens {
            offsets.push(at);
            at += token.text().chars().count();
        }
        let top = |token: &TokenInfo| {
            let top = token.top.iter();
            let entry = |(bytes, logprob): &(Vec<u8>, f32)| {
                (String::from_utf8_lossy(bytes).into_owned(), json!(logprob))
            };
            Value::Object(top.map(entry).collect())
        };
        json!({
            "tokens": tokens.iter().map(TokenInfo::text).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<_>>(),
            "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
            "text_offset": offsets,
        })
    });
    json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish})
}

/// A text, a list of texts, tokens, or a list of tokens.
fn prompts(fields: &Fields<'_>, state: &State) -> Result<Vec<Vec<u32>>, ApiError> {
    let value = fields.required("prompt")?;
    let vocab = state.config.vocab_size;
    let tokens = |list: &Vec<Value>| -> Result<Vec<u32>, ApiError> {
        let id = |value: &Value| {
            value
                .as_u64()
                .filter(|id| *id < vocab as u64)
                .map(|id| id as u32)
        };
        let ids = list.iter().map(|value| {
            id(value).ok_or_else(|| {
                ApiError::value("prompt", &format!("token ids below {vocab}"), value)
            })
        });
        ids.collect()
    };
    let text = |text: &str| Ok::<_, ApiError>(state.tokenizer.encode_ordinary(text)?);
    match value {
        Value::String(one) => Ok(vec![text(one)?]),
        Value::Array(list) if list.iter().all(Value::is_number) && !list.is_empty() => {
            Ok(vec![tokens(list)?])
        }
        Value::Array(list) if list.len() > state.max_queued => {
            let expected = format!("at most {} prompts", state.max_queued);
            Err(ApiError::value("prompt", &expected, list.len()))
        }
        Value::Array(list) if !list.is_empty() => {
            let one = |value: &Value| match value {
                Value::String(one) => text(one),
                Value::Array(list) => tokens(list),
                other => Err(wrong_type("prompt", "strings or arrays of tokens", other)),
            };
            list.iter().map(one).collect()
        }
        Value::Array(_) => Err(ApiError::value(
            "prompt",
            "at least one prompt",
            "an empty array",
        )),
        other => Err(wrong_type("prompt", "a string or an array", other)),
    }
}

async fn stream(
    head: Head,
    texts: Vec<Text>,
    (mut total, with_usage, asked): (Usage, bool, bool),
    events: Events,
) {
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = object(&head, choices);
        if with_usage {
            chunk["usage"] = usage.unwrap_or(Value::Null);
        }
        chunk
    };
    for (index, mut text) in texts.into_iter().enumerate() {
        let mut offset = 0;
        loop {
            let (piece, tokens) = match text.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    let _ = events.data(&error.to_json()).await;
                    return;
                }
            };
            if piece.is_empty() && tokens.is_empty() {
                continue;
            }
            let told = choice(index, &piece, (asked, &tokens, offset), None);
            offset += tokens
                .iter()
                .map(|token| token.text().chars().count())
                .sum::<usize>();
            if events.data(&chunk(json!([told]), None)).await.is_err() {
                return;
            }
        }
        total.completion += text.n_tokens;
        total.cached += text.cached;
        let last = choice(index, "", (false, &[], 0), Some(text.reason()));
        if events.data(&chunk(json!([last]), None)).await.is_err() {
            return;
        }
    }
    if with_usage {
        let _ = events.data(&chunk(json!([]), Some(usage(&total)))).await;
    }
    let _ = events.done().await;
}
