//! One message of a row.

use burn_gpt_oss::{Message, Role};
use serde_json::{Map, Value};

use super::DataNotes;
use super::foreign::{describe_content, kind_of};

/// Why tools are refused.
pub(super) const TOOLS: &str = "cannot be used: tools and their calls are not rendered yet, and without \
    them another answer would be trained";

/// What datasets call the reasoning before an answer.
const THINKING: [&str; 4] = ["thinking", "reasoning_content", "reasoning", "thought"];

/// What datasets call the choice of what is trained.
pub(super) const TRAINED: [&str; 6] = [
    "weight",
    "train",
    "trainable",
    "training",
    "loss",
    "loss_mask",
];

/// Keys that would change what is trained and are not offered.
const REFUSED: [&str; 6] = ["mask", "masked", "images", "image", "audio", "refusal"];

/// A message and whether it is trained.
pub(super) struct MessageJson {
    pub(super) message: Message,
    pub(super) trained: bool,
}

impl MessageJson {
    pub(super) fn read(
        json: &Value,
        line: Option<usize>,
        notes: &mut DataNotes,
    ) -> Result<Self, String> {
        let Value::Object(json) = json else {
            return Err(format!("is {}, an object is needed", kind_of(json)));
        };
        refuse_tools(json)?;
        let role = role(json)?;
        let content = json.get("content").unwrap_or(&Value::Null);
        let content = content.as_str().ok_or_else(|| describe_content(content))?;
        let mut read = Self {
            message: Message::new(role, content),
            trained: true,
        };
        for (key, value) in json {
            if !read.take(key, value)? && !is_empty(value) {
                notes.add(format!("key `{key}` of the messages is not used"), line);
            }
        }
        Ok(read)
    }

    /// Whether the key is used.
    fn take(&mut self, key: &str, value: &Value) -> Result<bool, String> {
        let message = &mut self.message;
        match key {
            "role" | "content" => {}
            "channel" => message.channel = text(key, value)?,
            "name" => message.name = text(key, value)?,
            "recipient" => message.recipient = text(key, value)?,
            "content_type" => message.content_type = text(key, value)?,
            key if THINKING.contains(&key) => self.think(key, text(key, value)?)?,
            key if TRAINED.contains(&key) && !value.is_null() => {
                let trained = flag(key, value)?;
                if trained && message.role != Role::Assistant && key != "weight" {
                    return Err(format!(
                        "`{key}` is {value} for role `{}`; only messages of the assistant are trained",
                        message.role.as_str()
                    ));
                }
                self.trained &= trained;
            }
            key if REFUSED.contains(&key) && !is_empty(value) => {
                return Err(format!(
                    "`{key}` would change what is trained and is not offered; remove it from the row"
                ));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn think(&mut self, key: &str, thinking: Option<String>) -> Result<(), String> {
        let earlier = &self.message.thinking;
        let Some(thinking) = thinking else {
            return Ok(());
        };
        // Datasets fill columns that are not used with empty texts.
        let differ = earlier.as_ref().is_some_and(|earlier| {
            !earlier.is_empty() && !thinking.is_empty() && *earlier != thinking
        });
        if differ {
            return Err(format!(
                "two different reasonings, the second one under `{key}`"
            ));
        }
        let better = earlier.as_ref().is_none_or(String::is_empty);
        if better && (key == "thinking" || !thinking.is_empty()) {
            self.message.thinking = Some(thinking);
        }
        Ok(())
    }
}

fn refuse_tools(json: &Map<String, Value>) -> Result<(), String> {
    for key in ["tool_calls", "function_call", "tool_call_id"] {
        if json.get(key).is_some_and(|value| !is_empty(value)) {
            return Err(format!("`{key}` {TOOLS}"));
        }
    }
    match json.get("role").and_then(Value::as_str) {
        Some("function") => Err(format!("role `function` {TOOLS}")),
        _ => Ok(()),
    }
}

fn role(json: &Map<String, Value>) -> Result<Role, String> {
    let role = json.get("role").ok_or("`role` is missing")?;
    serde_json::from_value(role.clone()).map_err(|_| {
        format!(
            "unknown role {role}, expected `system`, `developer`, `user`, `assistant` or `tool`"
        )
    })
}

/// A text or nothing.
pub(super) fn text(key: &str, value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        other => Err(format!("`{key}` is {}, a text is needed", kind_of(other))),
    }
}

/// Whether something is trained: `true`, `false`, 1 or 0.
pub(super) fn flag(key: &str, value: &Value) -> Result<bool, String> {
    match (value.as_bool(), value.as_f64()) {
        (Some(flag), _) => Ok(flag),
        (_, Some(1.0)) => Ok(true),
        (_, Some(0.0)) => Ok(false),
        _ => Err(format!(
            "`{key}` is {value}; a message is trained (1 or true) or not (0 or false)"
        )),
    }
}

/// Null, or a list, object or text with nothing in it.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
