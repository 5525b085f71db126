//! Messages of chat datasets as harmony messages: reasoning, calls and results of tools get the headers
//! that harmony writes. A message that names its channel, recipient or author keeps what it names.

use std::borrow::Cow;

use serde_json::Value;

use super::content::Content;
use super::harmony_message::HarmonyMessage;
use super::message::{Message, Role};
use super::reasoning;
use super::render_options::HarmonyVariant;
use super::span::SpanSource;
use super::tool::ToolCall;
use super::tool_result::OpenCalls;
use super::tools::{compact_json, python_json};

/// The namespace of functions.
pub(crate) const FUNCTIONS: &str = "functions.";

/// What neither variant can express, and what the template would drop or fail on.
pub(crate) fn check(
    message: &Message,
    index: usize,
    variant: HarmonyVariant,
) -> Result<(), &'static str> {
    let has_thinking = message
        .thinking
        .as_ref()
        .is_some_and(|text| !text.is_empty());
    match message.role {
        Role::System => Err("harmony writes the system message itself: describe it in \
            `Conversation::system`, or build the conversation with `Conversation::from_chat`"),
        role if role != Role::Assistant && has_thinking => {
            Err("only assistant messages can have `thinking`")
        }
        role if role != Role::Assistant && !message.tool_calls.is_empty() => {
            Err("only assistant messages can have `tool_calls`")
        }
        role if role != Role::Tool && matches!(message.content, Content::Json(_)) => {
            Err("`content` is an object, a text is needed")
        }
        Role::Developer if index > 0 && variant == HarmonyVariant::Template => Err(
            "the chat template drops a developer message that is not the first one; join it with the \
                first, or choose the variant `library`",
        ),
        _ if message.content.is_absent() && message.tool_calls.is_empty() => {
            Err("`content` is missing")
        }
        Role::Assistant => check_assistant(message, variant),
        _ => Ok(()),
    }
}

/// Calls of built-in tools and their headers are harmony's own, and `tool_calls` are calls of functions.
fn check_assistant(message: &Message, variant: HarmonyVariant) -> Result<(), &'static str> {
    let is_call = !message.tool_calls.is_empty();
    let channel = message.channel.as_deref();
    let other_channel = channel.is_some_and(|channel| channel != "commentary");
    if is_call && (message.recipient.is_some() || message.content_type.is_some() || other_channel) {
        return Err(
            "`tool_calls` have headers of their own; remove `channel`, `recipient` and `content_type`, \
            or give the call as `content` with all three",
        );
    }
    let is_builtin = |name: &str| name == "python" || name.starts_with("browser.");
    if message.tool_calls.iter().any(|call| is_builtin(&call.name)) {
        return Err(
            "a call of a built-in tool is a message with `recipient`, channel `analysis` and the call as \
            `content`; `tool_calls` are calls of functions",
        );
    }
    match variant {
        HarmonyVariant::Template => check_for_template(message),
        HarmonyVariant::Library => Ok(()),
    }
}

/// What the chat template refuses in a message of the model, and the calls that it would drop.
fn check_for_template(message: &Message) -> Result<(), &'static str> {
    let content = message.content.text();
    let texts = [
        content.as_ref(),
        message.thinking.as_deref().unwrap_or_default(),
    ];
    let is_rendered = |text: &&str| {
        ["analysis", "final"]
            .iter()
            .any(|channel| text.contains(&format!("<|channel|>{channel}<|message|>")))
    };
    if texts.iter().any(is_rendered) {
        return Err(
            "the text is rendered already (`<|channel|>...<|message|>`); give the reasoning as \
            `thinking` and the answer as `content`",
        );
    }
    match message.tool_calls.len() {
        0 => Ok(()),
        _ if texts.iter().all(|text| !text.is_empty()) => Err(
            "a message with `tool_calls` has both `content` and `thinking`, of which the chat template takes \
            one as reasoning; leave one out, or make the content a message of its own in channel `commentary`",
        ),
        1 => Ok(()),
        _ => Err(
            "the chat template drops all calls of a message but the first; give each call and its \
            result messages of their own, or choose the variant `library`",
        ),
    }
}

/// The harmony messages of a user, the assistant or a tool.
pub(crate) fn expand<'a>(
    message: &'a Message,
    variant: HarmonyVariant,
    keeps_reasoning: bool,
    calls: &mut OpenCalls<'a>,
) -> Result<Vec<HarmonyMessage<'a>>, String> {
    match message.role {
        Role::Tool => Ok(vec![calls.result(message, variant)?]),
        Role::Assistant => {
            if !message.tool_calls.is_empty() || message.recipient.is_some() {
                calls.add(message);
            } else if reasoning::is_answer(message) {
                calls.end();
            }
            Ok(assistant(message, variant, keeps_reasoning))
        }
        _ => Ok(vec![as_given(message)]),
    }
}

fn assistant<'a>(
    message: &'a Message,
    variant: HarmonyVariant,
    keeps_reasoning: bool,
) -> Vec<HarmonyMessage<'a>> {
    let mut messages = Vec::new();
    let is_call = !message.tool_calls.is_empty();
    let said = message.content.text();
    let said = Some(said).filter(|said| !said.is_empty() && is_call);
    let template = variant == HarmonyVariant::Template;
    let thinking = message.thinking.as_deref().map(Cow::Borrowed);
    // The template leaves out empty reasoning before a call, and takes a content for it.
    let thinking = thinking.filter(|text| !(is_call && template && text.is_empty()));
    let thinking = thinking.or_else(|| said.clone().filter(|_| template));
    messages.extend(
        thinking
            .filter(|_| keeps_reasoning)
            .map(|text| HarmonyMessage {
                channel: Some("analysis"),
                ..HarmonyMessage::new(SpanSource::Thinking, Role::Assistant, text)
            }),
    );
    if !is_call {
        // Where a call goes depends on the tool, so no channel is made up for it.
        let answers = template && message.recipient.is_none();
        let given = HarmonyMessage {
            channel: message.channel.as_deref().or(answers.then_some("final")),
            ..as_given(message)
        };
        // Reasoning in a message of its own follows the same rule.
        let reasons = given.channel == Some("analysis") && given.recipient.is_none();
        messages.extend(Some(given).filter(|_| keeps_reasoning || !reasons));
        return messages;
    }
    if let Some(preamble) = said.filter(|_| !template) {
        messages.push(HarmonyMessage {
            channel: Some("commentary"),
            ..HarmonyMessage::new(SpanSource::Content, Role::Assistant, preamble)
        });
    }
    messages.extend(
        message
            .tool_calls
            .iter()
            .map(|call| call_message(call, variant)),
    );
    messages
}

fn call_message(call: &ToolCall, variant: HarmonyVariant) -> HarmonyMessage<'_> {
    let (content_type, text) = match (variant, &call.arguments) {
        (HarmonyVariant::Template, arguments) => ("json", Cow::Owned(python_json(arguments))),
        (HarmonyVariant::Library, Value::String(text)) => {
            ("<|constrain|>json", Cow::Borrowed(text.as_str()))
        }
        (HarmonyVariant::Library, arguments) => {
            ("<|constrain|>json", Cow::Owned(compact_json(arguments)))
        }
    };
    HarmonyMessage {
        channel: Some("commentary"),
        recipient: Some(Cow::Owned(recipient_of(&call.name))),
        content_type: Some(call.content_type.as_deref().unwrap_or(content_type)),
        ..HarmonyMessage::new(SpanSource::Content, Role::Assistant, text)
    }
}

/// Functions have a namespace; a name that has one keeps it.
pub(crate) fn recipient_of(name: &str) -> String {
    match name.starts_with(FUNCTIONS) {
        true => name.to_owned(),
        false => format!("{FUNCTIONS}{name}"),
    }
}

/// The message with the headers that it names.
pub(crate) fn as_given(message: &Message) -> HarmonyMessage<'_> {
    let texts = match &message.content {
        Content::Text(parts) => parts
            .iter()
            .map(|part| Cow::Borrowed(part.as_str()))
            .collect(),
        Content::Json(value) => vec![Cow::Owned(compact_json(value))],
    };
    HarmonyMessage {
        name: message.name.as_deref().map(Cow::Borrowed),
        channel: message.channel.as_deref(),
        recipient: message.recipient.as_deref().map(Cow::Borrowed),
        content_type: message.content_type.as_deref(),
        texts,
        ..HarmonyMessage::new(SpanSource::Content, message.role, "")
    }
}
