//! The response object, with all of its fields.

use burn_gpt_oss::ReasoningEffort;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::options::Options;
use crate::state::State;

/// A response that is not finished yet.
pub struct Object(Value);

impl Object {
    pub fn new(
        fields: &Fields<'_>,
        state: &State,
        effort: ReasoningEffort,
        options: &Options,
    ) -> Result<Self, ApiError> {
        let or = |key: &str, default: Value| fields.get(key).cloned().unwrap_or(default);
        let summary = fields
            .object("reasoning")?
            .map(|r| r.text("summary"))
            .transpose()?
            .flatten();
        let format = fields
            .object("text")?
            .and_then(|text| text.get("format").cloned());
        Ok(Self(json!({
            "id": state.id("resp_"),
            "object": "response",
            "created_at": State::now(),
            "completed_at": null,
            "status": "in_progress",
            "incomplete_details": null,
            "model": state.model_of(fields)?,
            "previous_response_id": or("previous_response_id", Value::Null),
            "instructions": fields.text("instructions")?,
            "output": [],
            "error": null,
            "tools": tools(fields)?,
            "tool_choice": or("tool_choice", json!("auto")),
            "truncation": "disabled",
            "parallel_tool_calls": fields.flag("parallel_tool_calls")?.unwrap_or(true),
            "text": {"format": format.unwrap_or_else(|| json!({"type": "text"}))},
            "top_p": options.sampling.top_p,
            "temperature": options.sampling.temperature,
            "presence_penalty": options.penalties[1],
            "frequency_penalty": options.penalties[0],
            "top_logprobs": options.logprobs.unwrap_or(0),
            "reasoning": {"effort": effort.as_str(), "summary": summary},
            "user": fields.text("user")?,
            "usage": null,
            "max_output_tokens": fields.integer("max_output_tokens", 1..=i64::MAX)?,
            "max_tool_calls": fields.integer("max_tool_calls", 1..=i64::MAX)?,
            "store": fields.flag("store")?.unwrap_or(true),
            "background": false,
            "service_tier": "default",
            "metadata": metadata(fields)?,
            "safety_identifier": fields.text("safety_identifier")?,
            "prompt_cache_key": fields.text("prompt_cache_key")?,
        })))
    }

    /// As it is at the beginning.
    pub fn begun(&self) -> Value {
        self.0.clone()
    }

    /// The finished response; `cut` if there was no room for more.
    pub fn finished(self, output: Vec<Value>, answer: &Answer, cut: bool) -> Value {
        let mut object = self.0;
        object["status"] = json!(if cut { "incomplete" } else { "completed" });
        if cut {
            object["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        object["completed_at"] = json!(State::now());
        object["output"] = json!(output);
        let usage = answer.usage;
        object["usage"] = json!({
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.prompt + usage.completion,
        });
        object
    }

    pub fn failed(self, error: &ApiError, output: Vec<Value>) -> Value {
        let mut object = self.0;
        object["status"] = json!("failed");
        object["output"] = json!(output);
        // Others are not in OpenAI's list.
        let known = ["context_length_exceeded", "rate_limit_exceeded"];
        let code = error
            .code
            .filter(|code| known.contains(code))
            .unwrap_or("server_error");
        object["error"] = json!({"code": code, "message": error.message});
        object
    }
}

/// At most 16 pairs of short texts, as OpenAI takes them.
fn metadata(fields: &Fields<'_>) -> Result<Value, ApiError> {
    fields.object("metadata")?;
    let Some(Value::Object(map)) = fields.get("metadata") else {
        return Ok(json!({}));
    };
    let fits = |(key, value): (&String, &Value)| {
        key.len() <= 64 && value.as_str().is_some_and(|text| text.len() <= 512)
    };
    match map.len() <= 16 && map.iter().all(fits) {
        true => Ok(Value::Object(map.clone())),
        false => {
            let expected = "at most 16 texts of 512 characters under names of 64";
            Err(ApiError::value(
                "metadata",
                expected,
                format!("{} entries", map.len()),
            ))
        }
    }
}

/// The functions, with all of their keys; tools of other kinds are not echoed.
fn tools(fields: &Fields<'_>) -> Result<Vec<Value>, ApiError> {
    let mut tools = Vec::new();
    for (index, value) in fields.list("tools")?.into_iter().flatten().enumerate() {
        let tool = Fields::at(value, &format!("tools[{index}]"))?;
        if tool.text("type")? != Some("function") {
            continue;
        }
        let inner = tool.object("function")?.unwrap_or(tool);
        let get = |key: &str| inner.get(key).cloned().unwrap_or(Value::Null);
        tools.push(json!({
            "type": "function",
            "name": get("name"),
            "description": get("description"),
            "parameters": get("parameters"),
            "strict": get("strict"),
        }));
    }
    Ok(tools)
}
