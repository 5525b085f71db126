//! The answer in chunks, while it comes.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};

use super::reply::{FINGERPRINT, usage};
use super::{Head, logprobs};
use crate::answer::{Answer, Kind, Piece, Usage};
use crate::error::ApiError;
use crate::sse::Events;
use crate::state::State;

/// A choice that is being told.
struct Choice {
    index: usize,
    answer: Answer,
    kind: Option<Kind>,
    calls: usize,
    /// Whether reasoning and content have begun: further messages are further lines.
    told: [bool; 2],
}

pub async fn run(
    state: Arc<State>,
    head: Head,
    answers: Vec<Answer>,
    include_usage: bool,
    events: Events,
) {
    let chunk = |choices: Value, total: Option<Value>| {
        let mut chunk = json!({
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        });
        if include_usage {
            chunk["usage"] = total.unwrap_or(Value::Null);
        }
        chunk
    };
    let mut total = Usage::default();
    let mut running = FuturesUnordered::new();
    for (index, answer) in answers.into_iter().enumerate() {
        let choice = Choice::new(index, answer);
        let first = choice.to_json(
            json!({"role": "assistant", "content": null}),
            Value::Null,
            None,
        );
        if events.data(&chunk(json!([first]), None)).await.is_err() {
            return;
        }
        running.push(choice.next());
    }
    while let Some((mut choice, pieces)) = running.next().await {
        let told = match pieces {
            Err(error) => return failed(&events, &error).await,
            Ok(None) => {
                state.metrics.answered(&choice.answer);
                total.prompt = choice.answer.usage.prompt;
                total.cached = choice.answer.usage.cached;
                total.completion += choice.answer.usage.completion;
                total.reasoning += choice.answer.usage.reasoning;
                let reason = choice.answer.finish_reason();
                let last = choice.to_json(json!({}), Value::Null, Some(reason));
                events.data(&chunk(json!([last]), None)).await
            }
            Ok(Some(pieces)) => {
                let mut told = Ok(());
                for piece in pieces {
                    for (delta, tokens) in choice.deltas(piece, &head, &state) {
                        let told_now = choice.to_json(delta, tokens, None);
                        told = told.and(events.data(&chunk(json!([told_now]), None)).await);
                    }
                }
                running.push(choice.next());
                told
            }
        };
        if told.is_err() {
            return;
        }
    }
    if include_usage {
        let _ = events.data(&chunk(json!([]), Some(usage(&total)))).await;
    }
    let _ = events.done().await;
}

async fn failed(events: &Events, error: &ApiError) {
    let _ = events.data(&error.to_json()).await;
}

type Next = (Choice, Result<Option<Vec<Piece>>, ApiError>);

impl Choice {
    fn new(index: usize, answer: Answer) -> Self {
        Self {
            index,
            answer,
            kind: None,
            calls: 0,
            told: [false; 2],
        }
    }

    async fn next(mut self) -> Next {
        let pieces = self.answer.next().await;
        (self, pieces)
    }

    /// What a piece adds, with the probabilities of its tokens.
    fn deltas(&mut self, piece: Piece, head: &Head, state: &State) -> Vec<(Value, Value)> {
        let plain = |delta: Value| vec![(delta, Value::Null)];
        match (piece, self.kind.clone()) {
            (Piece::Start(kind), _) => {
                let begun = self.begin(&kind, head, state);
                self.kind = Some(kind);
                begun.map(plain).unwrap_or_default()
            }
            (Piece::End, _) => {
                self.kind = None;
                Vec::new()
            }
            (Piece::Text(text, _), Some(Kind::Reasoning)) => match head.reasoning {
                true => plain(json!({"reasoning": text, "reasoning_content": text})),
                false => Vec::new(),
            },
            (Piece::Text(text, _), Some(Kind::Call { .. })) => {
                let function = json!({"arguments": text});
                plain(json!({"tool_calls": [{"index": self.calls - 1, "function": function}]}))
            }
            (Piece::Text(text, tokens), _) => {
                vec![(json!({"content": text}), logprobs(&tokens, head.logprobs))]
            }
        }
    }

    fn begin(&mut self, kind: &Kind, head: &Head, state: &State) -> Option<Value> {
        match kind {
            Kind::Call { name } => {
                self.calls += 1;
                let call = json!({
                    "index": self.calls - 1,
                    "id": state.id("call_"),
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                });
                Some(json!({"tool_calls": [call]}))
            }
            Kind::Reasoning => {
                let again = std::mem::replace(&mut self.told[0], true) && head.reasoning;
                again.then(|| json!({"reasoning": "\n", "reasoning_content": "\n"}))
            }
            Kind::Answer | Kind::Preamble => {
                let again = std::mem::replace(&mut self.told[1], true);
                again.then(|| json!({"content": "\n"}))
            }
        }
    }

    fn to_json(&self, delta: Value, logprobs: Value, finish: Option<&str>) -> Value {
        json!({
            "index": self.index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish,
        })
    }
}
