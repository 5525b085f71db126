use burn_gpt_oss::{Conversation, Message, ReasoningEffort, Role};
use serde_json::{Map, Value};

use super::foreign::{describe, kind_of};
use super::message::MessageJson;
use super::{DataNotes, message};

/// A conversation of a dataset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRecord {
    /// The conversation; the first message may be of role `system`.
    pub messages: Vec<Message>,
    /// Indices of the messages that are never trained, in ascending order.
    pub untrained: Vec<usize>,
    /// Reasoning effort in the system message of this conversation; `None` leaves that of
    /// [`ChatFormat`](crate::ChatFormat).
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Language the analysis is written in, as `French`.
    pub reasoning_language: Option<String>,
    /// What a right final answer must contain; only used by the evaluation.
    pub answer: Option<String>,
    /// Line of the file it was read from, from 1; for messages.
    pub line: Option<usize>,
}

/// Keys of a row that would change what is trained and are not offered.
const REFUSED: [&str; 9] = [
    "audio",
    "builtin_tools",
    "chat_template_kwargs",
    "documents",
    "image",
    "images",
    "model_identity",
    "system",
    "videos",
];

impl ChatRecord {
    /// Reads a row of a dataset, in the shape of HuggingFaceH4/Multilingual-Thinking: `messages` with
    /// `role`, `content` and optional `thinking` (or `reasoning_content`, `reasoning`). A message with
    /// `weight: 0`, `train: false`, `trainable: false` or `loss_mask: 0` is not trained. `docs/data.md`
    /// lists all keys.
    ///
    /// `notes` receives the keys that are not used, and contents that look wrong.
    ///
    /// # Errors
    /// What is wrong with the row: another shape, an unknown role, tools, a conversation that harmony
    /// cannot express or that has no assistant message.
    pub fn from_json(
        row: &Value,
        line: Option<usize>,
        notes: &mut DataNotes,
    ) -> Result<Self, String> {
        let row = object(row)?;
        let Some(messages) = row.get("messages") else {
            return Err(describe(row));
        };
        let messages = messages.as_array().filter(|list| !list.is_empty());
        let messages = messages.ok_or("`messages` must be a list with at least one message")?;
        let mut record = Self {
            line,
            ..Self::default()
        };
        let trained = record.read_row(row, notes)?;
        for (index, message) in messages.iter().enumerate() {
            let read = MessageJson::read(message, line, notes);
            let read = read.map_err(|reason| format!("message {index}: {reason}"))?;
            if !read.trained || !trained {
                record.untrained.push(index);
            }
            record.messages.push(read.message);
        }
        record.check()?;
        record.look_at_contents(notes);
        Ok(record)
    }

    /// Reads what is said of the whole row; whether its messages are trained unless they say otherwise.
    fn read_row(
        &mut self,
        row: &Map<String, Value>,
        notes: &mut DataNotes,
    ) -> Result<bool, String> {
        let mut all_trained = true;
        for (key, value) in row {
            let set = !value.is_null();
            match key.as_str() {
                "messages" => {}
                "reasoning_language" => self.reasoning_language = message::text(key, value)?,
                "answer" => self.answer = message::text(key, value)?,
                "reasoning_effort" if set => self.reasoning_effort = Some(effort(value)?),
                "tools" | "functions" if !message::is_empty(value) => {
                    return Err(format!("`{key}` {}", message::TOOLS));
                }
                key if message::TRAINED.contains(&key) && set => {
                    all_trained &= message::flag(key, value)?;
                }
                refused if REFUSED.contains(&refused) && !message::is_empty(value) => {
                    return Err(format!(
                        "`{key}` would change what is trained and is not offered; remove it from the row"
                    ));
                }
                // An absent value changes nothing, whatever it is called.
                _ if message::is_empty(value) => {}
                _ => notes.add(format!("key `{key}` of the row is not used"), self.line),
            }
        }
        Ok(all_trained)
    }

    fn check(&self) -> Result<(), String> {
        if !self
            .messages
            .iter()
            .any(|message| message.role == Role::Assistant)
        {
            return Err("`messages` has no message of role `assistant` to learn from".into());
        }
        let conversation = Conversation::from_chat(self.messages.clone(), None);
        let checked = conversation.and_then(|conversation| conversation.check());
        checked.map_err(|error| error.to_string())
    }

    /// Counts what is allowed and hardly ever meant.
    fn look_at_contents(&self, notes: &mut DataNotes) {
        const MARKERS: [&str; 8] = [
            "<|start|>",
            "<|channel|>",
            "<|message|>",
            "<|end|>",
            "<|return|>",
            "<|call|>",
            "<|constrain|>",
            "<|endoftext|>",
        ];
        for message in &self.messages {
            let texts = [Some(message.content.as_str()), message.thinking.as_deref()];
            let has = |marker: &str| texts.iter().flatten().any(|text| text.contains(marker));
            if MARKERS.into_iter().any(has) {
                let text = "harmony markup such as `<|channel|>` within a text: it is trained as ordinary \
                     characters, use `thinking` and `channel` instead";
                notes.add(text, self.line);
            }
            if message.role != Role::Assistant {
                continue;
            }
            if has("<think>") || has("</think>") {
                let text = "`<think>` within an answer: it is trained as ordinary characters, use \
                     `thinking` instead";
                notes.add(text, self.line);
            }
            if message.content.trim().is_empty() {
                notes.add("empty answer, trained as it is", self.line);
            }
        }
    }
}

fn object(row: &Value) -> Result<&Map<String, Value>, String> {
    match row {
        Value::Object(row) => Ok(row),
        Value::Array(list) if list.first().is_some_and(|first| first.get("messages").is_some()) => {
            Err("one object per line is needed, this is an array of all rows; convert: jq -c '.[]' FILE > \
                 NEW"
                .into())
        }
        Value::Array(_) => Err(
            "the row is an array, an object with `messages` is needed; convert: jq -c '{messages: .}' \
             FILE > NEW"
                .into(),
        ),
        other => Err(format!(
            "the row is {}, an object with `messages` is needed",
            kind_of(other)
        )),
    }
}

fn effort(value: &Value) -> Result<ReasoningEffort, String> {
    serde_json::from_value(value.clone())
        .map_err(|_| format!("`reasoning_effort` is {value}, expected low, medium or high"))
}
