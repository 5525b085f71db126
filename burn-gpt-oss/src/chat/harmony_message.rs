use std::borrow::Cow;

use super::conversation::Conversation;
use super::message::{Message, Role};
use super::render_options::{AnalysisPolicy, HarmonyVariant, RenderOptions};
use super::span::SpanSource;
use super::system::SystemContent;
use super::tool_result::OpenCalls;
use super::tools::function_section;
use super::{chat_message, reasoning};
use crate::error::GptOssError;

/// One harmony message before it becomes tokens.
#[derive(Debug)]
pub(crate) struct HarmonyMessage<'a> {
    pub(crate) source: SpanSource,
    pub(crate) message: Option<usize>,
    pub(crate) role: Role,
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) channel: Option<&'a str>,
    pub(crate) recipient: Option<Cow<'a, str>>,
    pub(crate) content_type: Option<&'a str>,
    /// Each is encoded on its own.
    pub(crate) texts: Vec<Cow<'a, str>>,
}

/// What a conversation is rendered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is complete.
    Training,
    /// The model goes on.
    Prompt,
}

impl<'a> HarmonyMessage<'a> {
    pub(crate) fn new(source: SpanSource, role: Role, text: impl Into<Cow<'a, str>>) -> Self {
        Self {
            source,
            message: None,
            role,
            name: None,
            channel: None,
            recipient: None,
            content_type: None,
            texts: vec![text.into()],
        }
    }

    fn system(system: &SystemContent, has_functions: bool) -> Self {
        Self::new(SpanSource::System, Role::System, system.text(has_functions))
    }

    pub(crate) fn is_final_answer(&self) -> bool {
        self.role == Role::Assistant && self.channel == Some("final")
    }
}

/// The harmony messages of a conversation in order, without those that the policy drops.
pub(crate) fn harmony_messages(
    conversation: &Conversation,
    options: RenderOptions,
    purpose: Purpose,
) -> Result<Vec<HarmonyMessage<'_>>, GptOssError> {
    let has_functions = !conversation.tools.is_empty();
    let system = conversation.system.iter();
    let mut messages: Vec<HarmonyMessage<'_>> = system
        .map(|system| HarmonyMessage::system(system, has_functions))
        .collect();
    let is_developer = |message: &Message| message.role == Role::Developer;
    let mut tools = functions(conversation, options.variant)?;
    if !conversation.messages.iter().any(is_developer) {
        let message = tools
            .take()
            .map(|tools| HarmonyMessage::new(SpanSource::Tools, Role::Developer, tools));
        messages.extend(message);
    }
    let mut calls = OpenCalls::default();
    for (index, message) in conversation.messages.iter().enumerate() {
        let error = |reason: String| GptOssError::Conversation {
            message: index,
            reason,
        };
        chat_message::check(message, index, options.variant)
            .map_err(|reason| error(reason.into()))?;
        if is_developer(message) {
            messages.extend(developer(index, message, tools.take(), options.variant));
            continue;
        }
        let keeps = reasoning::is_kept(&conversation.messages, index, options.analysis, purpose);
        let expanded =
            chat_message::expand(message, options.variant, keeps, &mut calls).map_err(error)?;
        messages.extend(expanded.into_iter().map(|expanded| HarmonyMessage {
            message: Some(index),
            ..expanded
        }));
    }
    if options.analysis == AnalysisPolicy::DropBeforeFinal {
        reasoning::drop_before_final(&mut messages);
    }
    Ok(messages)
}

impl Conversation {
    /// Whether it can be rendered.
    ///
    /// # Errors
    /// [`GptOssError::Conversation`] for the first message that cannot, [`GptOssError::Tool`] for a tool
    /// that cannot be described.
    pub fn check(&self, variant: HarmonyVariant) -> Result<(), GptOssError> {
        let options = RenderOptions {
            variant,
            analysis: AnalysisPolicy::Keep,
        };
        harmony_messages(self, options, Purpose::Training).map(drop)
    }
}

fn functions(
    conversation: &Conversation,
    variant: HarmonyVariant,
) -> Result<Option<String>, GptOssError> {
    if conversation.tools.is_empty() {
        return Ok(None);
    }
    let section = function_section(&conversation.tools, variant);
    section
        .map(Some)
        .map_err(|reason| GptOssError::Tool { reason })
}

/// Instructions and functions; the template leaves out a message without either.
fn developer<'a>(
    index: usize,
    message: &'a Message,
    tools: Option<String>,
    variant: HarmonyVariant,
) -> Option<HarmonyMessage<'a>> {
    let instructions = message.content.text();
    let ends = match variant {
        HarmonyVariant::Template => "\n\n",
        HarmonyVariant::Library if tools.is_some() => "\n\n",
        HarmonyVariant::Library => "",
    };
    let told = variant == HarmonyVariant::Library || !instructions.is_empty();
    let instructions = told.then(|| format!("# Instructions\n\n{instructions}{ends}"));
    if instructions.is_none() && tools.is_none() {
        return None;
    }
    let text = instructions.unwrap_or_default() + tools.as_deref().unwrap_or_default();
    Some(HarmonyMessage {
        message: Some(index),
        name: message.name.as_deref().map(Cow::Borrowed),
        channel: message.channel.as_deref(),
        recipient: message.recipient.as_deref().map(Cow::Borrowed),
        content_type: message.content_type.as_deref(),
        ..HarmonyMessage::new(SpanSource::Content, Role::Developer, text)
    })
}
