use super::encoder::{CHANNEL, CONSTRAIN, HarmonyDecoder};

/// What a message of the model is to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompletionPart {
    /// Reasoning: channel `analysis`.
    Thinking,
    /// The answer: channel `final`, or no channel.
    Answer,
    /// A tool call, another channel, or a message in the name of another role.
    Other,
}

/// The header of a message, as far as it can be read.
#[derive(Debug)]
pub(crate) struct Header {
    /// The channel; `None` if there is none or its name is missing.
    pub(crate) channel: Option<String>,
    /// Whom the message is addressed to.
    pub(crate) recipient: Option<String>,
    pub(crate) part: CompletionPart,
}

impl Header {
    /// Reads the tokens between `<|start|>` and `<|message|>`. The role of the first message of a
    /// completion is not among them: it is the assistant's, by the prompt.
    pub(crate) fn read<D: HarmonyDecoder + ?Sized>(
        tokens: &[u32],
        role_is_given: bool,
        decoder: &D,
    ) -> Self {
        let (author, channel) = cut(tokens, decoder.special_token(CHANNEL));
        let author = decoder.decode(author);
        let channel = channel.map(|channel| {
            // Behind the marker is the type of the content.
            let (name, _) = cut(channel, decoder.special_token(CONSTRAIN));
            decoder.decode(name)
        });
        let recipient = recipient(&author).or_else(|| recipient(channel.as_deref()?));
        let by_assistant = role_is_given || author.split([' ', ':']).next() == Some("assistant");
        let name = channel.as_deref().and_then(channel_name);
        let part = match (channel.is_some(), name) {
            _ if !by_assistant || recipient.is_some() => CompletionPart::Other,
            (false, _) | (_, Some("final")) => CompletionPart::Answer,
            (_, Some("analysis")) => CompletionPart::Thinking,
            _ => CompletionPart::Other,
        };
        Self {
            channel: name.map(str::to_owned),
            recipient: recipient.map(str::to_owned),
            part,
        }
    }
}

/// The tokens before and behind the first `marker`.
fn cut(tokens: &[u32], marker: Option<u32>) -> (&[u32], Option<&[u32]>) {
    match tokens.iter().position(|token| Some(*token) == marker) {
        Some(at) => (&tokens[..at], Some(&tokens[at + 1..])),
        None => (tokens, None),
    }
}

fn recipient(text: &str) -> Option<&str> {
    let mut words = text.split_whitespace();
    words.find_map(|word| word.strip_prefix("to="))
}

fn channel_name(text: &str) -> Option<&str> {
    let mut words = text.split_whitespace();
    words.next().filter(|word| !word.starts_with("to="))
}
