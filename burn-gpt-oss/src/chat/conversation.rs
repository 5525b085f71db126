use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::{Message, Role};
use super::system::SystemContent;
use crate::error::GptOssError;

/// A function that the model may call. Refused by the renderer in this version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionTool {
    /// The name within the namespace `functions`.
    pub name: String,
    /// What the function does.
    pub description: String,
    /// JSON schema of the arguments; the order of its keys matters.
    #[serde(default)]
    pub parameters: Option<Value>,
}

/// A conversation as harmony sees it: nothing is added, moved or renamed when it is rendered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The system message; `None` renders none.
    #[serde(default)]
    pub system: Option<SystemContent>,
    /// Function tools; anything but an empty list is refused in this version.
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
    ///
    /// Developer text is rendered as in the harmony library: `# Instructions`, an empty line and the text.
    /// The chat template differs in two ways. It adds two newlines after the text; append them to the
    /// content to get the same tokens. And it leaves out empty instructions.
    ///
    /// # Errors
    ///
    /// [`GptOssError::Conversation`] for a system message after the first position, which the template
    /// would drop without a word, for an assistant message with a recipient but no channel, where the
    /// right channel depends on the tool, for a channel that harmony does not have, and for a tool
    /// message without recipient and channel, which the template derives from the call before it.
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
        Role::Tool if message.recipient.is_none() || message.channel.is_none() => {
            return Err(error(
                "a tool result needs its harmony header: name `functions.NAME`, recipient `assistant`, \
                channel `commentary`",
            ));
        }
        Role::Assistant if message.channel.is_none() => {
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
        let bare = reason(Message::new(Role::Tool, "b").with_name("add"));
        assert!(bare.contains("functions.NAME"), "{bare}");
        let whole = vec![Message::user("a"), Message::tool("functions.add", "6")];
        assert!(Conversation::from_chat(whole, None).is_ok());
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
