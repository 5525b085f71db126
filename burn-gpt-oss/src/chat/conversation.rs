use serde::{Deserialize, Serialize};

use super::message::{Message, Role};
use super::system::SystemContent;
use super::tool::FunctionTool;
use crate::error::GptOssError;

/// A conversation: a system message, functions, and the messages of a chat or of harmony.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The system message; `None` renders none.
    #[serde(default)]
    pub system: Option<SystemContent>,
    /// Functions that the model may call. They are described in the first developer message; without one
    /// they get a developer message of their own behind the system message.
    #[serde(default)]
    pub tools: Vec<FunctionTool>,
    /// The messages after the system message.
    pub messages: Vec<Message>,
}

impl Conversation {
    /// Builds a conversation from the messages of a chat dataset.
    ///
    /// The mapping is that of the published gpt-oss chat template:
    /// - A first message with role `system` is what harmony calls developer instructions and becomes
    ///   [`Role::Developer`]. The harmony system message is `system`, whatever the dataset says.
    /// - Assistant messages without channel go to channel `final`; their `thinking` is rendered in
    ///   channel `analysis`.
    /// - `tool_calls` go to channel `commentary`, results of tools belong to the call before them.
    ///
    /// # Errors
    ///
    /// [`GptOssError::Conversation`] for a system message after the first position, which the template
    /// would drop without a word, for an assistant message with a recipient but no channel, where the
    /// right channel depends on the tool, and for a channel that harmony does not have.
    pub fn from_chat(
        messages: Vec<Message>,
        system: Option<SystemContent>,
    ) -> Result<Self, GptOssError> {
        let messages = messages
            .into_iter()
            .enumerate()
            .map(|(index, message)| chat_message(index, message))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            system,
            tools: Vec::new(),
            messages,
        })
    }

    /// Sets the functions that the model may call.
    pub fn with_tools(mut self, tools: Vec<FunctionTool>) -> Self {
        self.tools = tools;
        self
    }
}

fn chat_message(index: usize, mut message: Message) -> Result<Message, GptOssError> {
    let error = |reason: &str| GptOssError::Conversation {
        message: index,
        reason: reason.to_owned(),
    };
    const CHANNELS: [&str; 3] = ["analysis", "commentary", "final"];
    let channel = message.channel.as_deref();
    if let Some(channel) = channel.filter(|channel| !CHANNELS.contains(channel)) {
        let reason =
            format!("there is no channel `{channel}`, only analysis, commentary and final");
        return Err(error(&reason));
    }
    match message.role {
        Role::System if index == 0 => message.role = Role::Developer,
        Role::System => {
            return Err(error(
                "a second system message; join it with the first one, or give it role developer",
            ));
        }
        Role::Assistant if message.channel.is_none() && message.tool_calls.is_empty() => {
            if message.recipient.is_some() {
                return Err(error("a tool call must name its channel"));
            }
            message.channel = Some("final".to_owned());
        }
        _ => {}
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_system_message_becomes_the_developer_message() {
        let messages = vec![
            Message::system("reasoning language: French\n\nBe kind."),
            Message::user("Salut"),
            Message::assistant("Bonjour").with_thinking("Une salutation."),
        ];
        let chat = Conversation::from_chat(messages, None).unwrap();
        assert_eq!(chat.messages[0].role, Role::Developer);
        assert_eq!(chat.messages[2].channel.as_deref(), Some("final"));
        assert_eq!(
            chat.messages[2].thinking.as_deref(),
            Some("Une salutation.")
        );
    }

    #[test]
    fn later_system_messages_are_refused_with_their_index() {
        let messages = vec![Message::user("a"), Message::system("b")];
        let error = Conversation::from_chat(messages, None).unwrap_err();
        assert!(
            matches!(error, GptOssError::Conversation { message: 1, .. }),
            "{error}"
        );
    }

    #[test]
    fn what_the_template_would_bend_is_refused() {
        let reason = |message: Message| {
            let chat = Conversation::from_chat(vec![Message::user("a"), message], None);
            chat.expect_err("refused").to_string()
        };
        let unknown = reason(Message::assistant("b").with_channel("thoughts"));
        assert!(unknown.contains("thoughts") && unknown.contains("commentary"));
        let bare = reason(Message::assistant("b").with_recipient("functions.add"));
        assert!(bare.contains("channel"), "{bare}");
    }

    #[test]
    fn given_channels_are_kept() {
        let messages = vec![Message::assistant("plan").with_channel("commentary")];
        let chat = Conversation::from_chat(messages, None).unwrap();
        assert_eq!(chat.messages[0].channel.as_deref(), Some("commentary"));
    }

    #[test]
    fn dataset_rows_deserialize_with_null_thinking() {
        let json = r#"[{"role": "user", "content": "a", "thinking": null},
                       {"role": "assistant", "content": "b", "thinking": "c"}]"#;
        let messages: Vec<Message> = serde_json::from_str(json).unwrap();
        assert_eq!(messages[0], Message::user("a"));
        assert_eq!(messages[1], Message::assistant("b").with_thinking("c"));
    }
}
