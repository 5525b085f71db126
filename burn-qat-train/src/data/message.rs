//! One message of a row.

use burn_gpt_oss::{Content, Message, Role, ToolCall};
use serde_json::{Map, Value, json};

use super::DataNotes;
use super::foreign::kind_of;

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
        let role = role(json)?;
        let content = content(role, json.get("content").unwrap_or(&Value::Null))?;
        let mut read = Self {
            message: Message::new(role, content),
            trained: true,
        };
        for (key, value) in json {
            if !read.take(key, value, notes, line)? && !is_empty(value) {
                notes.add(format!("key `{key}` of the messages is not used"), line);
            }
        }
        Ok(read)
    }

    /// Whether the key is used.
    fn take(
        &mut self,
        key: &str,
        value: &Value,
        notes: &mut DataNotes,
        line: Option<usize>,
    ) -> Result<bool, String> {
        let message = &mut self.message;
        match key {
            "role" | "content" => {}
            "tool_calls" if !is_empty(value) => {
                let calls = value.as_array().ok_or("`tool_calls` is no list")?;
                for value in calls {
                    message.tool_calls.push(call(value, notes, line)?);
                }
            }
            // The shape of before there were several calls.
            "function_call" if !is_empty(value) => {
                message.tool_calls.push(call(value, notes, line)?);
            }
            "tool_call_id" => message.tool_call_id = text(key, value)?,
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

/// The text of a content, or what a tool returned.
fn content(role: Role, value: &Value) -> Result<Content, String> {
    match value {
        Value::Null => Ok(Content::absent()),
        Value::Object(_) | Value::Array(_) if role == Role::Tool => {
            Ok(Content::Json(value.clone()))
        }
        Value::String(text) => Ok(text.as_str().into()),
        Value::Array(_) => {
            let parts: Content =
                serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
            // What programs make of parts before they render them.
            Ok(parts.text().as_ref().into())
        }
        other => Err(format!("`content` is {}, a text is needed", kind_of(other))),
    }
}

/// A call; arguments that are the text of an object, as in answers of OpenAI's API, are that object.
fn call(value: &Value, notes: &mut DataNotes, line: Option<usize>) -> Result<ToolCall, String> {
    let mut call: ToolCall = serde_json::from_value(value.clone())
        .map_err(|error| format!("a call of a tool: {error}"))?;
    let arguments = match &call.arguments {
        Value::Null => Some(json!({})),
        Value::String(text) if text.trim().is_empty() => Some(json!({})),
        Value::String(text) => {
            notes.add("`arguments` of a call are a text, read as JSON", line);
            let read = serde_json::from_str(text);
            Some(read.map_err(|error| {
                format!(
                    "`arguments` of the call of `{}` are not JSON: {error}",
                    call.name
                )
            })?)
        }
        _ => None,
    };
    call.arguments = arguments.unwrap_or(call.arguments);
    match call.arguments.is_object() {
        true => Ok(call),
        false => Err(format!(
            "`arguments` of the call of `{}` are {}, an object is needed",
            call.name,
            kind_of(&call.arguments)
        )),
    }
}

fn role(json: &Map<String, Value>) -> Result<Role, String> {
    let role = json.get("role").ok_or("`role` is missing")?;
    // The name of before there were several calls.
    if role == "function" {
        return Ok(Role::Tool);
    }
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
