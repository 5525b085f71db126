//! `/v1/chat/completions`.

mod reply;
mod stream;

use std::sync::Arc;

pub use reply::{FINGERPRINT, usage};

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use burn_gpt_oss::Request;
use serde_json::Value;

use crate::answer::Answer;
use crate::conversation::{Prompt, ToolChoice, effort, messages};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::http::{Body, Client};
use crate::options::Options;
use crate::state::{State, Work};
use crate::{sse, tools};

/// What all chunks and the whole answer say of themselves.
#[derive(Clone)]
pub struct Head {
    pub id: String,
    pub created: u64,
    pub model: String,
    /// Whether reasoning is told.
    pub reasoning: bool,
    /// Whether probabilities are told.
    pub logprobs: bool,
}

/// A request that was read.
struct Prepared {
    head: Head,
    options: Options,
    has_tools: bool,
    prompt: usize,
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
        has_tools,
        prompt,
        requests,
    } = prepared;
    let mut answers = Vec::new();
    for ticket in state.submit(requests).await? {
        let (tokenizer, stops) = (state.tokenizer, &state.stop_tokens);
        let stop = options.stop_strings()?;
        answers.push(Answer::new(
            ticket,
            tokenizer,
            stops,
            stop,
            (prompt, has_tools),
        ));
    }
    if options.stream {
        let usage = options.include_usage;
        return Ok(sse::response(|events| {
            stream::run(state, head, answers, usage, events)
        }));
    }
    Ok(Json(reply::collect(&state, &head, answers).await?).into_response())
}

fn prepare(state: &State, client: u64, body: &Value) -> Result<Prepared, ApiError> {
    let fields = Fields::of(body)?;
    let model = state.model_of(&fields)?;
    refuse_others(&fields)?;
    let options = options(&fields, state)?;
    let asked = asked_tokens(&fields)?;
    let mut prompt = Prompt {
        tools: tools::functions(&fields)?,
        effort: effort(
            fields.text("reasoning_effort")?,
            "reasoning_effort",
            state.effort,
        )?,
        ..Prompt::default()
    };
    let choice = tools::choice(&fields, &prompt.tools)?;
    messages(&fields, &mut prompt)?;
    prompt
        .instructions
        .extend(tools::format_instructions(&fields, "response_format")?);
    let beginnings = tools::beginnings(&choice, state.tokenizer)?;
    let tokens = prompt.render(state, &choice)?;
    let work = Work {
        prompt: &tokens,
        max_new_tokens: state.room(tokens.len(), asked, "messages")?,
        stop_tokens: &state.stop_tokens,
        beginnings: &beginnings,
        options: &options,
    };
    Ok(Prepared {
        head: Head {
            id: state.id("chatcmpl-"),
            created: State::now(),
            model,
            reasoning: fields.flag("include_reasoning")?.unwrap_or(true),
            logprobs: options.logprobs.is_some(),
        },
        has_tools: choice != ToolChoice::None,
        prompt: tokens.len(),
        requests: state.requests(client, &work),
        options,
    })
}

fn options(fields: &Fields<'_>, state: &State) -> Result<Options, ApiError> {
    let mut options = Options::of(fields, state)?;
    let top = fields.integer("top_logprobs", 0..=20)?;
    match (fields.flag("logprobs")?.unwrap_or(false), top) {
        (true, top) => options.logprobs = Some(top.unwrap_or(0) as usize),
        (false, Some(_)) => {
            let message = "'top_logprobs' is only allowed when 'logprobs' is true.";
            return Err(ApiError::bad_request(
                "invalid_value",
                "top_logprobs",
                message,
            ));
        }
        (false, None) => {}
    }
    Ok(options)
}

fn asked_tokens(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let old = fields.integer("max_tokens", 1..=i64::MAX)?;
    let new = fields.integer("max_completion_tokens", 1..=i64::MAX)?;
    Ok(new.or(old).map(|tokens| tokens as usize))
}

/// What would change an answer and is not offered.
fn refuse_others(fields: &Fields<'_>) -> Result<(), ApiError> {
    for key in ["functions", "function_call"] {
        if fields.get(key).is_some() {
            return Err(ApiError::unsupported(
                key,
                format!("'{key}' is deprecated; use 'tools' and 'tool_choice'."),
            ));
        }
    }
    let mut modalities = fields.list("modalities")?.into_iter().flatten();
    let other = modalities.find(|kind| **kind != "text");
    match other.or(fields.get("audio")) {
        None => Ok(()),
        Some(found) => Err(ApiError::value("modalities", "text", found)),
    }
}

/// Logarithms of probabilities as chat completions have them.
pub fn logprobs(tokens: &[crate::tokens::TokenInfo], asked: bool) -> Value {
    if !asked {
        return Value::Null;
    }
    let content: Vec<Value> = tokens
        .iter()
        .map(crate::tokens::TokenInfo::to_json)
        .collect();
    serde_json::json!({"content": content, "refusal": null})
}
