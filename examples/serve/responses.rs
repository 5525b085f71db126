//! `/v1/responses`, as Codex and OpenAI's clients speak it.

mod input;
mod object;
mod output;
mod stream;

use std::sync::Arc;

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use burn_gpt_oss::Request;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::conversation::{Prompt, ToolChoice, effort};
use crate::error::ApiError;
use crate::fields::{Fields, wrong_type};
use crate::http::{Body, Client, Id};
use crate::options::Options;
use crate::state::{State, Work};
use crate::{sse, tools};
use object::Object;
use output::Output;

/// A request that was read.
struct Prepared {
    object: Object,
    options: Options,
    items: Vec<Value>,
    has_tools: bool,
    prompt: usize,
    /// What is to be generated, or why it cannot be.
    requests: Result<Vec<Request>, ApiError>,
}

pub async fn respond(
    extract::State(state): extract::State<Arc<State>>,
    Client(client): Client,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let prepared = state
        .apart(move |state| prepare(state, client, &body))
        .await?;
    let Prepared {
        object,
        options,
        items,
        has_tools,
        prompt,
        requests,
    } = prepared;
    let requests = match requests {
        Ok(requests) => requests,
        // Clients of streams look for this error among the events.
        Err(error) if options.stream && error.code == Some("context_length_exceeded") => {
            return Ok(sse::response(|events| stream::fail(object, error, events)));
        }
        Err(error) => return Err(error),
    };
    let Some(ticket) = state.submit(requests).await?.pop() else {
        return Err(ApiError::internal("No answer was begun."));
    };
    let (tokenizer, stop) = (state.tokenizer, options.stop_strings()?);
    let mut answer = Answer::new(
        ticket,
        tokenizer,
        &state.stop_tokens,
        stop,
        (prompt, has_tools),
    );
    if options.stream {
        return Ok(sse::response(|events| {
            stream::run(state, object, (answer, items), events)
        }));
    }
    let mut output = Output::default();
    while let Some(pieces) = answer.next().await? {
        pieces
            .into_iter()
            .for_each(|piece| drop(output.add(piece, &state)));
    }
    state.metrics.answered(&answer);
    output.close();
    let cut = answer.finish_reason() == "length";
    let response = object.finished(output.items(), &answer, cut);
    keep(&state, &response, items);
    Ok(Json(response).into_response())
}

fn prepare(state: &State, client: u64, body: &Value) -> Result<Prepared, ApiError> {
    let fields = Fields::of(body)?;
    refuse_others(&fields)?;
    let options = options(&fields, state)?;
    let reasoning = fields.object("reasoning")?;
    let effort_name = reasoning
        .as_ref()
        .map(|r| r.text("effort"))
        .transpose()?
        .flatten();
    let mut prompt = Prompt {
        tools: tools::functions(&fields)?,
        effort: effort(effort_name, "reasoning.effort", state.effort)?,
        ..Prompt::default()
    };
    let choice = tools::choice(&fields, &prompt.tools)?;
    prompt
        .instructions
        .extend(fields.text("instructions")?.map(str::to_owned));
    let items = conversation(&fields, state)?;
    input::items(&items, &mut prompt)?;
    if let Some(text) = fields.object("text")? {
        prompt
            .instructions
            .extend(tools::format_instructions(&text, "format")?);
    }
    let object = Object::new(&fields, state, prompt.effort, &options)?;
    let beginnings = tools::beginnings(&choice, state.tokenizer)?;
    let tokens = prompt.render(state, &choice)?;
    let asked = fields.integer("max_output_tokens", 1..=i64::MAX)?;
    let room = state.room(tokens.len(), asked.map(|n| n as usize), "input");
    let requests = room.map(|max_new_tokens| {
        let work = Work {
            prompt: &tokens,
            max_new_tokens,
            stop_tokens: &state.stop_tokens,
            beginnings: &beginnings,
            options: &options,
        };
        state.requests(client, &work)
    });
    Ok(Prepared {
        object,
        items,
        has_tools: choice != ToolChoice::None,
        prompt: tokens.len(),
        requests,
        options,
    })
}

fn options(fields: &Fields<'_>, state: &State) -> Result<Options, ApiError> {
    let mut options = Options::of(fields, state)?;
    options.n = 1;
    options.stop.clear();
    let include = fields.list("include")?.into_iter().flatten();
    let asked = include
        .filter(|what| **what == "message.output_text.logprobs")
        .count()
        > 0;
    let top = fields.integer("top_logprobs", 0..=20)?.unwrap_or(0) as usize;
    options.logprobs = asked.then_some(top);
    Ok(options)
}

/// The items of an earlier response and of the input.
fn conversation(fields: &Fields<'_>, state: &State) -> Result<Vec<Value>, ApiError> {
    let mut items = match fields.text("previous_response_id")? {
        None => Vec::new(),
        Some(id) => state.stored.items(id).ok_or_else(|| {
            let message = format!("Previous response with id '{id}' not found.");
            ApiError::bad_request(
                "previous_response_not_found",
                "previous_response_id",
                message,
            )
        })?,
    };
    match fields.required("input")? {
        Value::String(text) => {
            items.push(json!({"type": "message", "role": "user", "content": text}))
        }
        Value::Array(input) => items.extend(input.iter().cloned()),
        other => return Err(wrong_type("input", "a string or an array of items", other)),
    }
    Ok(items)
}

/// Keeps a response, unless the client does not want it.
fn keep(state: &State, response: &Value, mut items: Vec<Value>) {
    if response["store"] == true {
        items.extend(response["output"].as_array().into_iter().flatten().cloned());
        state.stored.keep(response, items);
    }
}

pub async fn stored(
    extract::State(state): extract::State<Arc<State>>,
    Id(id): Id,
) -> Result<Json<Value>, ApiError> {
    state
        .stored
        .response(&id)
        .map(Json)
        .ok_or_else(|| no_response(&id))
}

pub async fn forget(
    extract::State(state): extract::State<Arc<State>>,
    Id(id): Id,
) -> Result<Json<Value>, ApiError> {
    match state.stored.forget(&id) {
        true => Ok(Json(
            json!({"id": id, "object": "response", "deleted": true}),
        )),
        false => Err(no_response(&id)),
    }
}

fn no_response(id: &str) -> ApiError {
    let message = format!("Response with id '{id}' not found.");
    ApiError::new(axum::http::StatusCode::NOT_FOUND, None, message)
}

/// What is not offered.
fn refuse_others(fields: &Fields<'_>) -> Result<(), ApiError> {
    match fields.flag("background")? {
        Some(true) => Err(ApiError::unsupported(
            "background",
            "Responses are not made in the background.",
        )),
        _ => Ok(()),
    }
}
