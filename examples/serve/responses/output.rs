//! Items of the output, and the events that tell how they grow.

use serde_json::{Value, json};

use crate::answer::{Kind, Piece};
use crate::state::State;
use crate::tokens::TokenInfo;

#[derive(Default)]
pub struct Output {
    done: Vec<Value>,
    open: Option<Item>,
}

/// The item that grows.
struct Item {
    kind: Kind,
    id: String,
    call_id: String,
    text: String,
    tokens: Vec<TokenInfo>,
    told: bool,
    begun: bool,
}

impl Output {
    /// The events of a piece; they lack their numbers.
    pub fn add(&mut self, piece: Piece, state: &State) -> Vec<Value> {
        let index = self.done.len();
        match piece {
            Piece::Start(kind) => {
                let item = self.open.insert(Item::new(kind, state));
                // Reasoning of no words is no item.
                match item.kind {
                    Kind::Reasoning => Vec::new(),
                    _ => item.begin(index),
                }
            }
            Piece::Text(text, tokens) => {
                let Some(item) = self.open.as_mut() else {
                    return Vec::new();
                };
                let mut events = match item.begun {
                    true => Vec::new(),
                    false => item.begin(index),
                };
                events.push(item.grow(index, &text, tokens));
                events
            }
            Piece::End => self.end("completed"),
        }
    }

    /// Ends the open item.
    fn end(&mut self, status: &str) -> Vec<Value> {
        let index = self.done.len();
        let Some(mut item) = self.open.take() else {
            return Vec::new();
        };
        if !item.begun {
            return Vec::new();
        }
        let events = item.end(index, status);
        self.done.push(item.to_json(status));
        events
    }

    /// All items so far.
    pub fn items(&self) -> Vec<Value> {
        self.done.clone()
    }

    /// Ends the item that an answer leaves open which was cut off.
    pub fn close(&mut self) -> Vec<Value> {
        self.end("incomplete")
    }
}

impl Item {
    fn new(kind: Kind, state: &State) -> Self {
        let id = match &kind {
            Kind::Reasoning => state.id("rs_"),
            Kind::Preamble | Kind::Answer => state.id("msg_"),
            Kind::Call { .. } => state.id("fc_"),
        };
        Self {
            id,
            call_id: state.id("call_"),
            kind,
            text: String::new(),
            tokens: Vec::new(),
            told: false,
            begun: false,
        }
    }

    fn begin(&mut self, index: usize) -> Vec<Value> {
        self.begun = true;
        let mut item = self.to_json("in_progress");
        match &self.kind {
            Kind::Call { .. } => item["arguments"] = json!(""),
            _ => item["content"] = json!([]),
        }
        let mut events = vec![json!({
            "type": "response.output_item.added",
            "output_index": index,
            "item": item,
        })];
        if !matches!(self.kind, Kind::Call { .. }) {
            events.push(self.part(index, "response.content_part.added", ""));
        }
        events
    }

    fn grow(&mut self, index: usize, text: &str, tokens: Vec<TokenInfo>) -> Value {
        self.text.push_str(text);
        self.told = true;
        let mut event = self.event(index, "delta");
        event["delta"] = json!(text);
        if matches!(self.kind, Kind::Answer | Kind::Preamble) {
            event["logprobs"] = tokens.iter().map(TokenInfo::to_json).collect();
        }
        self.tokens.extend(tokens);
        event
    }

    fn end(&mut self, index: usize, status: &str) -> Vec<Value> {
        let mut events = Vec::new();
        if let Kind::Call { name } = self.kind.clone() {
            if !self.told {
                events.push(self.grow(index, "", Vec::new()));
            }
            let mut done = self.event(index, "done");
            done["arguments"] = json!(self.text);
            done["name"] = json!(name);
            events.push(done);
        } else {
            let mut done = self.event(index, "done");
            done["text"] = json!(self.text);
            if self.kind != Kind::Reasoning {
                done["logprobs"] = self.tokens.iter().map(TokenInfo::to_json).collect();
            }
            events.push(done);
            events.push(self.part(index, "response.content_part.done", &self.text));
        }
        events.push(json!({
            "type": "response.output_item.done",
            "output_index": index,
            "item": self.to_json(status),
        }));
        events
    }

    fn event(&self, index: usize, what: &str) -> Value {
        let (kind, has_content) = match self.kind {
            Kind::Reasoning => ("reasoning_text", true),
            Kind::Preamble | Kind::Answer => ("output_text", true),
            Kind::Call { .. } => ("function_call_arguments", false),
        };
        let mut event = json!({
            "type": format!("response.{kind}.{what}"),
            "item_id": self.id,
            "output_index": index,
        });
        if has_content {
            event["content_index"] = json!(0);
        }
        event
    }

    fn part(&self, index: usize, kind: &str, text: &str) -> Value {
        json!({
            "type": kind,
            "item_id": self.id,
            "output_index": index,
            "content_index": 0,
            "part": self.content(text),
        })
    }

    fn content(&self, text: &str) -> Value {
        match self.kind {
            Kind::Reasoning => json!({"type": "reasoning_text", "text": text}),
            _ => {
                let tokens = self
                    .tokens
                    .iter()
                    .map(TokenInfo::to_json)
                    .collect::<Vec<_>>();
                json!({"type": "output_text", "text": text, "annotations": [], "logprobs": tokens})
            }
        }
    }

    fn to_json(&self, status: &str) -> Value {
        match &self.kind {
            Kind::Reasoning => json!({
                "type": "reasoning",
                "id": self.id,
                "summary": [],
                "content": [self.content(&self.text)],
                "status": status,
            }),
            Kind::Call { name } => json!({
                "type": "function_call",
                "id": self.id,
                "call_id": self.call_id,
                "name": name,
                "arguments": self.text,
                "status": status,
            }),
            kind => json!({
                "type": "message",
                "id": self.id,
                "status": status,
                "role": "assistant",
                "content": [self.content(&self.text)],
                "phase": if *kind == Kind::Preamble { "commentary" } else { "final_answer" },
            }),
        }
    }
}
