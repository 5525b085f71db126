//! Messages of chat completions as a conversation of harmony, and the functions beside them.

use burn_gpt_oss::{
    Conversation, FunctionTool, Message, ReasoningEffort, SystemContent, ToolCall,
    render_completion,
};
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, wrong_type};
use crate::state::State;

/// Which functions a client lets the model call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    None,
    Auto,
    /// Any of these may be called.
    Allowed(Vec<String>),
    /// One of these must be called.
    Required(Vec<String>),
}

/// A conversation that is to go on.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// Instructions of systems and developers, one after the other.
    pub instructions: Vec<String>,
    pub messages: Vec<Message>,
    pub tools: Vec<FunctionTool>,
    pub effort: ReasoningEffort,
}

impl Prompt {
    /// The tokens of the prompt.
    pub fn render(self, state: &State, choice: &ToolChoice) -> Result<Vec<u32>, ApiError> {
        let system = SystemContent {
            reasoning_effort: Some(self.effort),
            conversation_start_date: Some(state.date.clone()),
            ..SystemContent::default()
        };
        let mut messages = Vec::new();
        if !self.instructions.is_empty() {
            messages.push(Message::system(self.instructions.join("\n\n")));
        }
        messages.extend(self.messages);
        let tools = match choice {
            ToolChoice::None => Vec::new(),
            ToolChoice::Allowed(names) => {
                let mut tools = self.tools;
                tools.retain(|tool| names.contains(&tool.name));
                tools
            }
            ToolChoice::Auto | ToolChoice::Required(_) => self.tools,
        };
        let conversation = Conversation::from_chat(messages, Some(system))?.with_tools(tools);
        Ok(render_completion(
            &conversation,
            state.tokenizer,
            state.render,
        )?)
    }
}

/// The messages of a chat completion.
pub fn messages(fields: &Fields<'_>, prompt: &mut Prompt) -> Result<(), ApiError> {
    fields.required("messages")?;
    let list = fields.list("messages")?.map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        return Err(ApiError::value(
            "messages",
            "at least one message",
            "an empty array",
        ));
    }
    for (index, value) in list.iter().enumerate() {
        let path = format!("messages[{index}]");
        message(&Fields::at(value, &path)?, prompt)?;
    }
    match prompt.messages.last() {
        None => Err(ApiError::value(
            "messages",
            "a message of a user",
            "instructions alone",
        )),
        Some(last) if last.role.as_str() == "assistant" => Err(ApiError::value(
            "messages",
            "a last message of a user or a tool",
            "one of the assistant, which cannot be continued",
        )),
        Some(_) => Ok(()),
    }
}

fn message(fields: &Fields<'_>, prompt: &mut Prompt) -> Result<(), ApiError> {
    let role = fields.required_text("role")?;
    let content = text_of(fields, "content")?;
    let required = || {
        fields.required("content")?;
        Ok::<_, ApiError>(content.clone().unwrap_or_default())
    };
    match role {
        "system" | "developer" => prompt.instructions.push(required()?),
        "user" => prompt.messages.push(Message::user(required()?)),
        "assistant" => assistant(fields, content, prompt)?,
        "tool" => {
            let id = fields.required_text("tool_call_id")?;
            let is_known = |message: &Message| {
                message
                    .tool_calls
                    .iter()
                    .any(|call| call.id.as_deref() == Some(id))
            };
            if !prompt.messages.iter().any(is_known) {
                let path = fields.path("tool_call_id");
                return Err(ApiError::value(
                    path,
                    "the id of a call before it",
                    format!("'{id}'"),
                ));
            }
            let mut result = Message::new(burn_gpt_oss::Role::Tool, required()?);
            result.tool_call_id = Some(id.to_owned());
            prompt.messages.push(result);
        }
        other => {
            let expected = "system, developer, user, assistant or tool";
            return Err(ApiError::value(
                fields.path("role"),
                expected,
                format!("'{other}'"),
            ));
        }
    }
    Ok(())
}

fn assistant(
    fields: &Fields<'_>,
    content: Option<String>,
    prompt: &mut Prompt,
) -> Result<(), ApiError> {
    let thinking = match fields.text("reasoning_content")? {
        Some(thinking) => Some(thinking),
        None => fields.text("reasoning")?,
    };
    let mut calls = Vec::new();
    for (index, value) in fields.list("tool_calls")?.into_iter().flatten().enumerate() {
        let path = fields.path(&format!("tool_calls[{index}]"));
        let call = Fields::at(value, &path)?;
        let function = call.required("function")?;
        let function = Fields::at(function, &format!("{path}.function"))?;
        let id = call.text("id")?;
        calls.push(tool_call(
            id,
            function.required_text("name")?,
            function.text("arguments")?,
        ));
    }
    if calls.is_empty() {
        let content = content.or(thinking.map(|_| String::new()));
        let content = content.ok_or_else(|| {
            let message = "An assistant message has content or tool_calls.";
            ApiError::bad_request(
                "missing_required_parameter",
                fields.path("content"),
                message,
            )
        })?;
        let mut message = Message::assistant(content);
        message.thinking = thinking.map(str::to_owned);
        prompt.messages.push(message);
        return Ok(());
    }
    // What the person was told before the call.
    if let Some(preamble) = content.filter(|text| !text.is_empty()) {
        prompt
            .messages
            .push(Message::assistant(preamble).with_channel("commentary"));
    }
    let mut message = Message::calls(calls);
    message.thinking = thinking.map(str::to_owned);
    prompt.messages.push(message);
    Ok(())
}

/// A call as a client sends it back: arguments are a JSON text.
pub fn tool_call(id: Option<&str>, name: &str, arguments: Option<&str>) -> ToolCall {
    let text = arguments.unwrap_or("{}");
    let arguments = serde_json::from_str::<Value>(text)
        .ok()
        .filter(Value::is_object);
    let mut call = ToolCall::new(name, arguments.unwrap_or_else(|| text.into()));
    call.id = id.map(str::to_owned);
    call
}

/// A content: a text, or parts of text.
pub fn text_of(fields: &Fields<'_>, key: &str) -> Result<Option<String>, ApiError> {
    let path = fields.path(key);
    match fields.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                text.push_str(part_of(part, &format!("{path}[{index}]"))?);
            }
            Ok(Some(text))
        }
        Some(other) => Err(wrong_type(&path, "a string or an array of parts", other)),
    }
}

fn part_of<'a>(part: &'a Value, path: &str) -> Result<&'a str, ApiError> {
    let fields = Fields::at(part, path)?;
    let kind = fields.required_text("type")?;
    match kind {
        "text" | "input_text" | "output_text" | "reasoning_text" | "summary_text" => {
            fields.required_text("text")
        }
        "refusal" => fields.required_text("refusal"),
        other => {
            let found = format!("'{other}', which this model cannot read");
            Err(ApiError::value(format!("{path}.type"), "text", found))
        }
    }
}

/// How much to think, in the words of all clients.
pub fn effort(
    name: Option<&str>,
    path: &str,
    default: ReasoningEffort,
) -> Result<ReasoningEffort, ApiError> {
    match name {
        None => Ok(default),
        Some("none" | "minimal" | "low") => Ok(ReasoningEffort::Low),
        Some("medium") => Ok(ReasoningEffort::Medium),
        Some("high" | "xhigh" | "max") => Ok(ReasoningEffort::High),
        Some(other) => {
            let expected = "none, minimal, low, medium, high, xhigh or max";
            Err(ApiError::value(path, expected, format!("'{other}'")))
        }
    }
}
