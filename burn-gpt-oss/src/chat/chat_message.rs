//! Messages of chat datasets as harmony messages: reasoning, calls and results of tools get the headers
//! that harmony writes. A message that names its channel, recipient or author keeps what it names.

use std::borrow::Cow;

use serde_json::Value;

use super::content::Content;
use super::harmony_message::HarmonyMessage;
use super::message::{Message, Role};
use super::render_options::HarmonyVariant;
use super::span::SpanSource;
use super::tool::ToolCall;
use super::tools::{compact_json, python_json};

const FUNCTIONS: &str = "functions.";

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
        Role::Assistant if variant == HarmonyVariant::Template => check_for_template(message),
        _ => Ok(()),
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

/// The harmony messages of a user, the assistant or a tool. `call` is the last call before it.
pub(crate) fn expand<'a>(
    message: &'a Message,
    variant: HarmonyVariant,
    keeps_reasoning: bool,
    call: &mut Option<&'a Message>,
) -> Result<Vec<HarmonyMessage<'a>>, String> {
    match message.role {
        Role::Tool => Ok(vec![result(message, variant, *call)?]),
        Role::Assistant => {
            let answers = message.tool_calls.is_empty() && message.recipient.is_none();
            match answers {
                false => *call = Some(message),
                // A result can no longer belong to a call before an answer.
                true if message
                    .channel
                    .as_deref()
                    .is_none_or(|channel| channel == "final") =>
                {
                    *call = None;
                }
                true => {}
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
        messages.push(HarmonyMessage {
            channel: message.channel.as_deref().or(template.then_some("final")),
            ..as_given(message)
        });
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
        recipient: Some(Cow::Owned(format!("{FUNCTIONS}{}", call.name))),
        content_type: Some(call.content_type.as_deref().unwrap_or(content_type)),
        ..HarmonyMessage::new(SpanSource::Content, Role::Assistant, text)
    }
}

/// The result of a tool, from whom the call before it says unless the message does.
fn result<'a>(
    message: &'a Message,
    variant: HarmonyVariant,
    call: Option<&'a Message>,
) -> Result<HarmonyMessage<'a>, String> {
    let has_header = message.recipient.is_some() || message.channel.is_some();
    let in_chat = call.is_some_and(|call| !call.tool_calls.is_empty());
    let as_library = variant == HarmonyVariant::Library && !in_chat;
    if message.name.is_some() && (has_header || as_library) {
        return Ok(as_given(message));
    }
    let called = called_name(message, call)?;
    let given = message.name.as_deref();
    let differs = |name: &str| name != called && name != called.trim_start_matches(FUNCTIONS);
    if let Some(name) = given.filter(|name| differs(name)) {
        return Err(format!(
            "the result is named `{name}`, the call before it `{called}`; set `tool_call_id` on both, or \
             `name`, `recipient` and `channel` of the result"
        ));
    }
    let texts = match (variant, &message.content) {
        (HarmonyVariant::Library, _) => as_given(message).texts,
        (HarmonyVariant::Template, Content::Json(value)) => vec![Cow::Owned(python_json(value))],
        (HarmonyVariant::Template, content) => {
            vec![Cow::Owned(python_json(&Value::from(
                content.text().as_ref(),
            )))]
        }
    };
    Ok(HarmonyMessage {
        name: Some(called),
        recipient: Some(Cow::Borrowed("assistant")),
        channel: Some("commentary"),
        texts,
        ..as_given(message)
    })
}

/// Who returned a result: the callee of the call that it names, or of the last one.
fn called_name<'a>(message: &Message, call: Option<&'a Message>) -> Result<Cow<'a, str>, String> {
    let call = call.ok_or(
        "a result of a tool without a call before it; `name`, `recipient` and `channel` would say whose it is",
    )?;
    if let Some(recipient) = call
        .recipient
        .as_deref()
        .filter(|_| call.tool_calls.is_empty())
    {
        return Ok(Cow::Borrowed(recipient));
    }
    let calls = &call.tool_calls;
    let named = match &message.tool_call_id {
        Some(id) => calls.iter().find(|call| call.id.as_ref() == Some(id)),
        None => None,
    };
    match (named, calls.as_slice()) {
        (Some(call), _) | (None, [call]) => Ok(Cow::Owned(format!("{FUNCTIONS}{}", call.name))),
        (None, calls) => Err(format!(
            "a result of one of {} calls; `tool_call_id` must say of which",
            calls.len()
        )),
    }
}

/// The message with the headers that it names.
fn as_given(message: &Message) -> HarmonyMessage<'_> {
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
