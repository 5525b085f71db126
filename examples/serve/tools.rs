//! Functions, which of them must be called, and formats of answers.

use burn_gpt_oss::{FunctionTool, Tokenizer};
use serde_json::Value;

use crate::conversation::ToolChoice;
use crate::error::ApiError;
use crate::fields::Fields;

/// The functions among the tools; other kinds are skipped, as clients offer them to every server.
pub fn functions(fields: &Fields<'_>) -> Result<Vec<FunctionTool>, ApiError> {
    let mut found = Vec::new();
    for (index, value) in fields.list("tools")?.into_iter().flatten().enumerate() {
        let path = format!("tools[{index}]");
        let tool = Fields::at(value, &path)?;
        if tool.required_text("type")? != "function" {
            continue;
        }
        let inner = match tool.object("function")? {
            Some(inner) => inner,
            // The Responses API writes it flat.
            None => tool,
        };
        let name = inner.required_text("name")?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
            let expected = "1 to 64 letters, digits, '_' and '-'";
            return Err(ApiError::value(
                inner.path("name"),
                expected,
                format!("'{name}'"),
            ));
        }
        if let Some(other) = inner.get("parameters").filter(|value| !value.is_object()) {
            return Err(ApiError::value(
                inner.path("parameters"),
                "a JSON schema",
                other,
            ));
        }
        found.push(FunctionTool {
            name: name.to_owned(),
            description: inner.text("description")?.unwrap_or_default().to_owned(),
            parameters: inner.get("parameters").cloned(),
        });
    }
    Ok(found)
}

pub fn choice(fields: &Fields<'_>, tools: &[FunctionTool]) -> Result<ToolChoice, ApiError> {
    let all = || {
        tools
            .iter()
            .map(|tool| tool.name.clone())
            .collect::<Vec<_>>()
    };
    let Some(value) = fields.get("tool_choice") else {
        return Ok(if tools.is_empty() {
            ToolChoice::None
        } else {
            ToolChoice::Auto
        });
    };
    let choice = match value {
        Value::String(word) => match word.as_str() {
            "none" => ToolChoice::None,
            "auto" if tools.is_empty() => ToolChoice::None,
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required(all()),
            other => {
                let expected = "none, auto, required or a function";
                return Err(ApiError::value(
                    "tool_choice",
                    expected,
                    format!("'{other}'"),
                ));
            }
        },
        _ => named(&Fields::at(value, "tool_choice")?, tools)?,
    };
    match &choice {
        ToolChoice::Required(names) if names.is_empty() => {
            let message = "'tool_choice' is only allowed when 'tools' has functions.";
            Err(ApiError::bad_request(
                "invalid_value",
                "tool_choice",
                message,
            ))
        }
        _ => Ok(choice),
    }
}

fn named(fields: &Fields<'_>, tools: &[FunctionTool]) -> Result<ToolChoice, ApiError> {
    let known = |name: &str, path: String| match tools.iter().any(|tool| tool.name == name) {
        true => Ok(name.to_owned()),
        false => Err(ApiError::value(
            path,
            "the name of a function in 'tools'",
            format!("'{name}'"),
        )),
    };
    match fields.required_text("type")? {
        "function" => {
            let inner = fields.object("function")?.unwrap_or_else(|| fields.clone());
            let name = known(inner.required_text("name")?, inner.path("name"))?;
            Ok(ToolChoice::Required(vec![name]))
        }
        "allowed_tools" => {
            let inner = fields
                .object("allowed_tools")?
                .unwrap_or_else(|| fields.clone());
            let mut names = Vec::new();
            for (index, value) in inner.list("tools")?.into_iter().flatten().enumerate() {
                let tool = Fields::at(value, &inner.path(&format!("tools[{index}]")))?;
                let tool = tool.object("function")?.unwrap_or(tool);
                names.push(known(tool.required_text("name")?, tool.path("name"))?);
            }
            match inner.text("mode")? {
                Some("required") => Ok(ToolChoice::Required(names)),
                Some("auto") | None => Ok(ToolChoice::Allowed(names)),
                Some(other) => {
                    let found = format!("'{other}'");
                    Err(ApiError::value(
                        inner.path("mode"),
                        "auto or required",
                        found,
                    ))
                }
            }
        }
        other => {
            let expected = "function or allowed_tools";
            Err(ApiError::value(
                "tool_choice.type",
                expected,
                format!("'{other}'"),
            ))
        }
    }
}

/// How an answer begins that must be a call.
pub fn beginnings(choice: &ToolChoice, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, ApiError> {
    let ToolChoice::Required(names) = choice else {
        return Ok(Vec::new());
    };
    let special = |text: &str| Ok::<_, ApiError>(tokenizer.require_special_token(text)?);
    let (channel, constrain) = (special("<|channel|>")?, special("<|constrain|>")?);
    let message = special("<|message|>")?;
    let beginning = |name: &String| {
        let mut tokens = vec![channel];
        let header = format!("commentary to=functions.{name} ");
        tokens.extend(tokenizer.encode_ordinary(&header)?);
        tokens.push(constrain);
        tokens.extend(tokenizer.encode_ordinary("json")?);
        tokens.push(message);
        Ok(tokens)
    };
    names.iter().map(beginning).collect()
}

/// Instructions for the format of an answer; none for plain text.
pub fn format_instructions(fields: &Fields<'_>, key: &str) -> Result<Option<String>, ApiError> {
    let Some(format) = fields.object(key)? else {
        return Ok(None);
    };
    match format.required_text("type")? {
        "text" => Ok(None),
        "json_object" => Ok(Some(
            "# Response Formats\n\nAnswer with one JSON object and nothing else.".into(),
        )),
        "json_schema" => {
            // Chat completions have it inside, responses beside.
            let inner = format
                .object("json_schema")?
                .unwrap_or_else(|| format.clone());
            let name = inner.text("name")?.unwrap_or("response");
            let schema = inner.required("schema")?;
            if !schema.is_object() {
                return Err(ApiError::value(
                    inner.path("schema"),
                    "a JSON schema",
                    schema,
                ));
            }
            if inner.flag("strict")? == Some(true) {
                let message = "The format of answers is asked for, not enforced: 'strict' cannot be promised.";
                return Err(ApiError::unsupported(fields.path(key), message));
            }
            Ok(Some(format!("# Response Formats\n\n## {name}\n\n{schema}")))
        }
        other => {
            let expected = "text, json_object or json_schema";
            Err(ApiError::value(
                format.path("type"),
                expected,
                format!("'{other}'"),
            ))
        }
    }
}
