//! The shapes of rows: how each becomes the messages of a conversation.

use serde_json::{Map, Value, json};

use super::foreign::{describe, kind_of};
use super::message;

/// What is trained on.
pub(super) enum Shaped {
    /// Messages with `role` and `content`, and the columns that they were made of.
    Messages(Vec<Value>, &'static [&'static str]),
    /// A plain text.
    Text(String),
}

type Row = Map<String, Value>;

/// Finds the shape of a row by its columns.
pub(super) fn shape(row: &Row) -> Result<Shaped, String> {
    let has = |key: &str| row.get(key).is_some_and(|value| !value.is_null());
    if has("messages") {
        // Multilingual-Thinking holds the same texts once more in columns.
        let used = &["messages", "developer", "user", "analysis", "final"];
        return Ok(Shaped::Messages(list(row, "messages")?.clone(), used));
    }
    if has("conversations") {
        let messages = list(row, "conversations")?.iter().map(share_gpt);
        let messages = messages.collect::<Result<_, _>>()?;
        return Ok(Shaped::Messages(messages, &["conversations"]));
    }
    if has("prompt") && has("completion") {
        return prompt_completion(row);
    }
    if has("prompt") && (has("cot_response") || has("instruct_response")) {
        return false_reject(row);
    }
    if has("instruction") && has("output") {
        return alpaca(row);
    }
    if has("user") && has("final") {
        return thinking_columns(row);
    }
    match row.get("text") {
        Some(Value::String(text)) => plain(text),
        _ => Err(describe(row)),
    }
}

fn list<'a>(row: &'a Row, key: &str) -> Result<&'a Vec<Value>, String> {
    let list = row[key].as_array().filter(|list| !list.is_empty());
    list.ok_or_else(|| format!("`{key}` must be a list with at least one message"))
}

/// A message of the ShareGPT shape: `from` and `value`.
fn share_gpt(message: &Value) -> Result<Value, String> {
    let Some(from) = message.get("from") else {
        // The name of the column alone is from ShareGPT.
        return Ok(message.clone());
    };
    let value = message.get("value").cloned().unwrap_or(Value::Null);
    let role = match from.as_str().unwrap_or_default() {
        "human" | "user" => "user",
        "gpt" | "assistant" | "model" | "bot" | "chatgpt" => "assistant",
        "system" => "system",
        "developer" => "developer",
        "tool" | "observation" | "function_response" => "tool",
        "function_call" | "tool_call" => "assistant",
        _ => {
            return Err(format!(
                "`from` is {from}, expected `human`, `gpt`, `system`, `tool`, `observation` or \
                 `function_call`"
            ));
        }
    };
    let mut converted = match from == "function_call" || from == "tool_call" {
        true => function_call(&value)?,
        false => json!({"role": role, "content": value}),
    };
    for (key, value) in message.as_object().into_iter().flatten() {
        if key != "from" && key != "value" {
            converted[key] = value.clone();
        }
    }
    Ok(converted)
}

/// A call as the text of a JSON object with `name` and `arguments`.
fn function_call(value: &Value) -> Result<Value, String> {
    let text = value.as_str().unwrap_or_default();
    let call: Value = serde_json::from_str(text)
        .map_err(|error| format!("the call of a function is not JSON: {error}"))?;
    let calls = match call {
        Value::Array(calls) => calls,
        call => vec![call],
    };
    Ok(json!({"role": "assistant", "content": null, "tool_calls": calls}))
}

/// The prompt is not trained, as TRL does unless told otherwise.
fn prompt_completion(row: &Row) -> Result<Shaped, String> {
    let mut messages = as_messages(row, "prompt", "user")?;
    for message in &mut messages {
        if message["role"] == "assistant" && message.is_object() {
            message["train"] = false.into();
        }
    }
    messages.extend(as_messages(row, "completion", "assistant")?);
    Ok(Shaped::Messages(messages, &["prompt", "completion"]))
}

/// A text of one role, or messages.
fn as_messages(row: &Row, key: &str, role: &str) -> Result<Vec<Value>, String> {
    match &row[key] {
        Value::String(text) => Ok(vec![json!({"role": role, "content": text})]),
        Value::Array(messages) => Ok(messages.clone()),
        other => Err(format!(
            "`{key}` is {}, a text or messages are needed",
            kind_of(other)
        )),
    }
}

/// AmazonScience/FalseReject: the answer with reasoning, or else the one without.
fn false_reject(row: &Row) -> Result<Shaped, String> {
    let text = |key: &str| {
        row.get(key)
            .map_or(Ok(None), |value| message::text(key, value))
    };
    let mut messages = as_messages(row, "prompt", "user")?;
    let reasoned = text("cot_response")?.filter(|text| !text.is_empty());
    let plain = text("instruct_response")?.filter(|text| !text.is_empty());
    let split = reasoned
        .as_deref()
        .and_then(|text| text.split_once("</think>"));
    messages.push(match (split, plain, &reasoned) {
        (Some((thinking, answer)), ..) => {
            let thinking = thinking.trim().trim_start_matches("<think>").trim();
            json!({"role": "assistant", "thinking": thinking, "content": answer.trim()})
        }
        (None, Some(answer), _) => json!({"role": "assistant", "content": answer}),
        (None, None, Some(answer)) => json!({"role": "assistant", "content": answer}),
        (None, None, None) => return Err("`cot_response` and `instruct_response` are empty".into()),
    });
    let used = &[
        "prompt",
        "cot_response",
        "instruct_response",
        "category",
        "category_text",
    ];
    Ok(Shaped::Messages(messages, used))
}

fn alpaca(row: &Row) -> Result<Shaped, String> {
    let text = |key: &str| {
        row.get(key)
            .map_or(Ok(None), |value| message::text(key, value))
    };
    let asked = [text("instruction")?, text("input")?];
    let asked: Vec<String> = asked
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    let messages = vec![
        json!({"role": "user", "content": asked.join("\n\n")}),
        json!({"role": "assistant", "content": text("output")?}),
    ];
    Ok(Shaped::Messages(
        messages,
        &["instruction", "input", "output"],
    ))
}

/// HuggingFaceH4/Multilingual-Thinking without its messages, which are made like this.
fn thinking_columns(row: &Row) -> Result<Shaped, String> {
    let text = |key: &str| {
        row.get(key)
            .map_or(Ok(None), |value| message::text(key, value))
    };
    let language = text("reasoning_language")?;
    let language = language.map(|language| format!("reasoning language: {language}"));
    let system: Vec<String> = [language, text("developer")?]
        .into_iter()
        .flatten()
        .collect();
    let mut messages = Vec::new();
    if !system.is_empty() {
        messages.push(json!({"role": "system", "content": system.join("\n\n")}));
    }
    messages.push(json!({"role": "user", "content": text("user")?}));
    let answer =
        json!({"role": "assistant", "thinking": text("analysis")?, "content": text("final")?});
    messages.push(answer);
    Ok(Shaped::Messages(
        messages,
        &["developer", "user", "analysis", "final"],
    ))
}

/// A text without roles; one that is rendered already would be trained as ordinary characters.
fn plain(text: &str) -> Result<Shaped, String> {
    if text.trim_start().starts_with("<|start|>") {
        return Err("`text` is a rendered conversation (`<|start|>...`), whose markers would be trained as \
             ordinary characters; give `messages`, as they were before they were rendered"
            .into());
    }
    match text.is_empty() {
        true => Err("`text` is empty".into()),
        false => Ok(Shaped::Text(text.to_owned())),
    }
}
