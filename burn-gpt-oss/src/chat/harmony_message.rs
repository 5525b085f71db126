use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::conversation::Conversation;
use super::message::{Message, Role};
use super::span::SpanSource;
use super::system::SystemContent;
use crate::error::GptOssError;

/// Which reasoning of a conversation is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisPolicy {
    /// All of it. The policy for training data: the other one would drop the reasoning of every
    /// one-turn example.
    #[default]
    Keep,
    /// If the last assistant message is in channel `final`, the messages in channel `analysis` before
    /// the first `final` message are left out; later ones stay. The default of openai-harmony 0.0.8.
    DropBeforeFinal,
}

/// One harmony message before it becomes tokens.
pub(crate) struct HarmonyMessage<'a> {
    pub(crate) source: SpanSource,
    pub(crate) message: Option<usize>,
    pub(crate) role: Role,
    pub(crate) name: Option<&'a str>,
    pub(crate) channel: Option<&'a str>,
    pub(crate) recipient: Option<&'a str>,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) text: Cow<'a, str>,
}

impl<'a> HarmonyMessage<'a> {
    fn new(source: SpanSource, role: Role, text: Cow<'a, str>) -> Self {
        Self {
            source,
            message: None,
            role,
            name: None,
            channel: None,
            recipient: None,
            content_type: None,
            text,
        }
    }

    fn system(system: &SystemContent) -> Self {
        Self::new(SpanSource::System, Role::System, Cow::Owned(system.text()))
    }

    fn thinking(index: usize, thinking: &'a str) -> Self {
        let message = Self::new(
            SpanSource::Thinking,
            Role::Assistant,
            Cow::Borrowed(thinking),
        );
        Self {
            message: Some(index),
            channel: Some("analysis"),
            ..message
        }
    }

    fn content(index: usize, message: &'a Message) -> Self {
        let text = match message.role {
            Role::Developer => Cow::Owned(format!("# Instructions\n\n{}", message.content)),
            _ => Cow::Borrowed(message.content.as_str()),
        };
        Self {
            message: Some(index),
            name: message.name.as_deref(),
            channel: message.channel.as_deref(),
            recipient: message.recipient.as_deref(),
            content_type: message.content_type.as_deref(),
            ..Self::new(SpanSource::Content, message.role, text)
        }
    }

    pub(crate) fn is_final_answer(&self) -> bool {
        self.role == Role::Assistant && self.channel == Some("final")
    }
}

/// The harmony messages of a conversation in order, without those that the policy drops.
pub(crate) fn harmony_messages(
    conversation: &Conversation,
    policy: AnalysisPolicy,
) -> Result<Vec<HarmonyMessage<'_>>, GptOssError> {
    refuse_tools(conversation)?;
    let system = conversation.system.iter().map(HarmonyMessage::system);
    let mut messages: Vec<HarmonyMessage<'_>> = system.collect();
    for (index, message) in conversation.messages.iter().enumerate() {
        check(message).map_err(|reason| GptOssError::Conversation {
            message: index,
            reason: reason.to_owned(),
        })?;
        if let Some(thinking) = thinking_of(message) {
            messages.push(HarmonyMessage::thinking(index, thinking));
        }
        messages.push(HarmonyMessage::content(index, message));
    }
    if policy == AnalysisPolicy::DropBeforeFinal {
        drop_analysis(&mut messages);
    }
    Ok(messages)
}

impl Conversation {
    /// Whether it can be rendered.
    ///
    /// # Errors
    /// [`GptOssError::Conversation`] for the first message that cannot, [`GptOssError::Unsupported`] for
    /// tools.
    pub fn check(&self) -> Result<(), GptOssError> {
        harmony_messages(self, AnalysisPolicy::Keep).map(drop)
    }
}

fn refuse_tools(conversation: &Conversation) -> Result<(), GptOssError> {
    let builtin = conversation
        .system
        .as_ref()
        .is_some_and(|system| !system.builtin_tools.is_empty());
    let what = match (conversation.tools.is_empty(), builtin) {
        (true, false) => return Ok(()),
        (false, _) => "rendering function tools",
        (true, true) => "rendering built-in tools",
    };
    Err(GptOssError::Unsupported {
        what: what.to_owned(),
        hint: "leave the tools out or drop the conversation".to_owned(),
    })
}

fn check(message: &Message) -> Result<(), &'static str> {
    match message.role {
        Role::System => Err("harmony writes the system message itself: describe it in \
            `Conversation::system`, or build the conversation with `Conversation::from_chat`"),
        Role::Tool if message.name.is_none() => Err("a tool message needs the name of the tool"),
        Role::Assistant => Ok(()),
        _ if message
            .thinking
            .as_deref()
            .is_some_and(|thinking| !thinking.is_empty()) =>
        {
            Err("only assistant messages can have `thinking`")
        }
        _ => Ok(()),
    }
}

fn thinking_of(message: &Message) -> Option<&str> {
    // Datasets fill the column of other roles with empty texts.
    message
        .thinking
        .as_deref()
        .filter(|_| message.role == Role::Assistant)
}

fn drop_analysis(messages: &mut Vec<HarmonyMessage<'_>>) {
    let last_assistant = messages
        .iter()
        .rfind(|message| message.role == Role::Assistant);
    if !last_assistant.is_some_and(HarmonyMessage::is_final_answer) {
        return;
    }
    let first_final = messages
        .iter()
        .position(|message| message.channel == Some("final"));
    let mut index = 0;
    messages.retain(|message| {
        let dropped =
            first_final.is_some_and(|end| index < end) && message.channel == Some("analysis");
        index += 1;
        !dropped
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(message: Message) -> String {
        let messages = vec![Message::user("a"), message];
        let conversation = Conversation {
            messages,
            ..Conversation::default()
        };
        match harmony_messages(&conversation, AnalysisPolicy::Keep) {
            Err(GptOssError::Conversation { message: 1, reason }) => reason,
            other => panic!("{:?}", other.map(|messages| messages.len())),
        }
    }

    #[test]
    fn messages_that_harmony_cannot_express_are_refused() {
        assert!(reason(Message::system("b")).contains("from_chat"));
        assert!(reason(Message::new(Role::Tool, "b")).contains("name"));
        assert!(reason(Message::user("b").with_thinking("c")).contains("thinking"));
    }

    #[test]
    fn empty_thinking_of_other_roles_is_no_reasoning() {
        let messages = vec![Message::user("a").with_thinking("")];
        let conversation = Conversation {
            messages,
            ..Conversation::default()
        };
        assert_eq!(
            harmony_messages(&conversation, AnalysisPolicy::Keep)
                .unwrap()
                .len(),
            1
        );
    }
}
