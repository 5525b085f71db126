//! Results of tools: whose they are, and how they are written.

use std::borrow::Cow;

use serde_json::Value;

use super::chat_message::{FUNCTIONS, as_given};
use super::content::Content;
use super::harmony_message::HarmonyMessage;
use super::message::Message;
use super::render_options::HarmonyVariant;
use super::tools::python_json;

/// The messages since the last answer that call tools.
#[derive(Default)]
pub(crate) struct OpenCalls<'a>(Vec<&'a Message>);

impl<'a> OpenCalls<'a> {
    pub(crate) fn add(&mut self, call: &'a Message) {
        self.0.push(call);
    }

    /// A result can no longer belong to a call before an answer.
    pub(crate) fn end(&mut self) {
        self.0.clear();
    }

    /// The result of a tool, from whom the call before it says unless the message does.
    pub(crate) fn result(
        &self,
        message: &'a Message,
        variant: HarmonyVariant,
    ) -> Result<HarmonyMessage<'a>, String> {
        let has_header = message.recipient.is_some() || message.channel.is_some();
        let in_chat = self
            .0
            .last()
            .is_some_and(|call| !call.tool_calls.is_empty());
        let as_library = variant == HarmonyVariant::Library && !in_chat;
        if message.name.is_some() && (has_header || as_library) {
            return Ok(as_given(message));
        }
        let called = self.callee(message, variant)?;
        let given = message.name.as_deref();
        let differs = |name: &str| name != called && name != called.trim_start_matches(FUNCTIONS);
        if let Some(name) = given.filter(|name| differs(name)) {
            return Err(format!(
                "the result is named `{name}`, the call before it `{called}`; set `tool_call_id` on both, or \
                 `name`, `recipient` and `channel` of the result"
            ));
        }
        let given = as_given(message);
        Ok(HarmonyMessage {
            name: Some(called),
            recipient: given.recipient.or(Some(Cow::Borrowed("assistant"))),
            channel: given.channel.or(Some("commentary")),
            texts: match variant {
                HarmonyVariant::Library => given.texts,
                HarmonyVariant::Template => vec![Cow::Owned(as_template(&message.content))],
            },
            ..as_given(message)
        })
    }

    /// Who returned a result: the callee of the call that it names, or of the last one.
    fn callee(&self, message: &Message, variant: HarmonyVariant) -> Result<Cow<'a, str>, String> {
        let last = *self.0.last().ok_or(
            "a result of a tool without a call before it; `name`, `recipient` and `channel` would say whose \
             it is",
        )?;
        if let Some(id) = &message.tool_call_id {
            let of = |call: &'a Message| {
                call.tool_calls
                    .iter()
                    .find(|one| one.id.as_ref() == Some(id))
            };
            let named = self.0.iter().find_map(|call| Some((*call, of(call)?)));
            if let Some((call, named)) = named {
                let behind = !std::ptr::eq(call, last);
                return match behind && variant == HarmonyVariant::Template {
                    true => Err(format!(
                        "the result of `{}` follows another call, and the chat template would name that one; \
                         put each result behind its call, or choose the variant `library`",
                        named.name
                    )),
                    false => Ok(function(&named.name)),
                };
            }
            if self
                .0
                .iter()
                .any(|call| call.tool_calls.iter().any(|one| one.id.is_some()))
            {
                return Err(format!("`tool_call_id` {id} is that of no call before it"));
            }
        }
        match (&last.recipient, last.tool_calls.as_slice()) {
            (Some(recipient), []) => Ok(Cow::Borrowed(recipient)),
            (_, [call]) => Ok(function(&call.name)),
            (_, calls) => Err(format!(
                "a result of one of {} calls; `tool_call_id` must say of which",
                calls.len()
            )),
        }
    }
}

fn function<'a>(name: &str) -> Cow<'a, str> {
    Cow::Owned(super::chat_message::recipient_of(name))
}

/// The chat template writes every result as JSON, a text in quotes.
fn as_template(content: &Content) -> String {
    match content {
        Content::Json(value) => python_json(value),
        Content::Text(_) => python_json(&Value::from(content.text().as_ref())),
    }
}
