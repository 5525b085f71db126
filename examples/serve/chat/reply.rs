//! The whole answer at once.

use serde_json::{Value, json};

use super::{Head, logprobs};
use crate::answer::{Answer, Kind, Piece, Usage};
use crate::error::ApiError;
use crate::state::State;
use crate::tokens::TokenInfo;

/// One choice, as it grows.
#[derive(Default)]
struct Choice {
    reasoning: String,
    content: String,
    tokens: Vec<TokenInfo>,
    calls: Vec<(String, String)>,
}

pub async fn collect(state: &State, head: &Head, answers: Vec<Answer>) -> Result<Value, ApiError> {
    let (mut choices, mut total) = (Vec::new(), Usage::default());
    for (index, mut answer) in answers.into_iter().enumerate() {
        let mut choice = Choice::default();
        let mut kind = None;
        while let Some(pieces) = answer.next().await? {
            for piece in pieces {
                choice.add(piece, &mut kind);
            }
        }
        state.metrics.answered(&answer);
        total = Usage {
            prompt: answer.usage.prompt,
            cached: answer.usage.cached,
            completion: total.completion + answer.usage.completion,
            reasoning: total.reasoning + answer.usage.reasoning,
        };
        choices.push(choice.to_json(index, head, answer.finish_reason(), state));
    }
    Ok(json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
        "usage": usage(&total),
    }))
}

pub const FINGERPRINT: &str = concat!("burn-qat-", env!("CARGO_PKG_VERSION"));

pub fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

impl Choice {
    fn add(&mut self, piece: Piece, kind: &mut Option<Kind>) {
        match (piece, kind.clone()) {
            (Piece::Start(started), _) => {
                match &started {
                    Kind::Call { name } => self.calls.push((name.clone(), String::new())),
                    Kind::Reasoning => separate(&mut self.reasoning),
                    Kind::Answer | Kind::Preamble => separate(&mut self.content),
                }
                *kind = Some(started);
            }
            (Piece::Text(text, _), Some(Kind::Reasoning)) => self.reasoning.push_str(&text),
            (Piece::Text(text, _), Some(Kind::Call { .. })) => {
                if let Some((_, arguments)) = self.calls.last_mut() {
                    arguments.push_str(&text);
                }
            }
            (Piece::Text(text, tokens), _) => {
                self.content.push_str(&text);
                self.tokens.extend(tokens);
            }
            (Piece::End, _) => *kind = None,
        }
    }

    fn to_json(&self, index: usize, head: &Head, finish: &str, state: &State) -> Value {
        let has_calls = !self.calls.is_empty();
        let content = match self.content.is_empty() && has_calls {
            true => Value::Null,
            false => json!(self.content),
        };
        let mut message = json!({
            "role": "assistant",
            "content": content,
            "refusal": null,
            "annotations": [],
        });
        if head.reasoning && !self.reasoning.is_empty() {
            // Servers and clients differ in the name.
            message["reasoning"] = json!(self.reasoning);
            message["reasoning_content"] = json!(self.reasoning);
        }
        if has_calls {
            let call = |(name, arguments): &(String, String)| {
                let function = json!({"name": name, "arguments": arguments.trim()});
                json!({"id": state.id("call_"), "type": "function", "function": function})
            };
            message["tool_calls"] = self.calls.iter().map(call).collect();
        }
        json!({
            "index": index,
            "message": message,
            "logprobs": logprobs(&self.tokens, head.logprobs),
            "finish_reason": finish,
        })
    }
}

/// Messages of one kind are lines.
pub fn separate(text: &mut String) {
    if !text.is_empty() {
        text.push('\n');
    }
}
