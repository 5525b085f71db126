//! Items of the input as messages.

use burn_gpt_oss::{Message, Role};
use serde_json::Value;

use crate::conversation::{Prompt, text_of, tool_call};
use crate::error::ApiError;
use crate::fields::Fields;

/// Reads items, those of earlier responses first.
pub fn items(items: &[Value], prompt: &mut Prompt) -> Result<(), ApiError> {
    let mut thinking = None;
    for (index, value) in items.iter().enumerate() {
        let path = format!("input[{index}]");
        item(&Fields::at(value, &path)?, prompt, &mut thinking)?;
    }
    match prompt
        .messages
        .iter()
        .any(|message| message.role != Role::Assistant)
    {
        true => Ok(()),
        false => Err(ApiError::value("input", "a message of a user", "none")),
    }
}

/// `thinking` is the reasoning before the item that comes next.
fn item(
    fields: &Fields<'_>,
    prompt: &mut Prompt,
    thinking: &mut Option<String>,
) -> Result<(), ApiError> {
    let kind = match fields.text("type")? {
        Some(kind) => kind,
        None if fields.get("role").is_some() => "message",
        None => "item_reference",
    };
    match kind {
        "message" => message(fields, prompt, thinking),
        "reasoning" => {
            if let Some(text) = text_of(fields, "content")?.filter(|text| !text.is_empty()) {
                *thinking = Some(text);
            }
            Ok(())
        }
        "function_call" => {
            let (id, name) = (
                fields.required_text("call_id")?,
                fields.required_text("name")?,
            );
            let call = tool_call(Some(id), name, fields.text("arguments")?);
            let mut message = Message::calls([call]);
            message.thinking = thinking.take();
            prompt.messages.push(message);
            Ok(())
        }
        "function_call_output" => output(fields, prompt),
        "item_reference" => {
            let message = "Items are not stored: send them themselves.";
            Err(ApiError::unsupported(fields.path("id"), message))
        }
        // Other tools leave items in a history that mean nothing to this model.
        _ => Ok(()),
    }
}

fn message(
    fields: &Fields<'_>,
    prompt: &mut Prompt,
    thinking: &mut Option<String>,
) -> Result<(), ApiError> {
    fields.required("content")?;
    let text = text_of(fields, "content")?.unwrap_or_default();
    match fields.required_text("role")? {
        "system" | "developer" => prompt.instructions.push(text),
        "user" => prompt.messages.push(Message::user(text)),
        "assistant" => {
            let mut message = Message::assistant(text);
            match fields.text("phase")? {
                Some("commentary") => message.channel = Some("commentary".into()),
                _ => message.thinking = thinking.take(),
            }
            prompt.messages.push(message);
        }
        other => {
            let expected = "system, developer, user or assistant";
            return Err(ApiError::value(
                fields.path("role"),
                expected,
                format!("'{other}'"),
            ));
        }
    }
    Ok(())
}

fn output(fields: &Fields<'_>, prompt: &mut Prompt) -> Result<(), ApiError> {
    let id = fields.required_text("call_id")?;
    let is_call = |message: &Message| {
        message
            .tool_calls
            .iter()
            .any(|call| call.id.as_deref() == Some(id))
    };
    if !prompt.messages.iter().any(is_call) {
        let message = format!("No tool call found for function call output with call_id {id}.");
        return Err(ApiError::bad_request(
            "invalid_value",
            fields.path("call_id"),
            message,
        ));
    }
    fields.required("output")?;
    let text = text_of(fields, "output")?.unwrap_or_default();
    let mut result = Message::new(Role::Tool, text);
    result.tool_call_id = Some(id.to_owned());
    prompt.messages.push(result);
    Ok(())
}
