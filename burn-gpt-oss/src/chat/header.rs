use super::encoder::{CHANNEL, CONSTRAIN, HarmonyDecoder};
use super::message::Role;
use super::turn::Begun;

/// What a message of the model is to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompletionPart {
    /// Reasoning: channel `analysis`.
    Thinking,
    /// The answer: channel `final`, or no channel.
    Answer,
    /// A tool call, another channel, a message in the name of another role, or text outside of all
    /// messages.
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
    /// Whether `<|start|>` was there and the channel is one of harmony's.
    pub(crate) well_formed: bool,
}

impl Header {
    /// Reads the tokens between `<|start|>` and `<|message|>`. The role of the first message of a
    /// completion is not among them: it is the assistant's, by the prompt.
    pub(crate) fn read<D: HarmonyDecoder + ?Sized>(
        tokens: &[u32],
        begun: Begun,
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
        let role_is_given = begun != Begun::ByStart;
        let by_assistant = role_is_given || author.split([' ', ':']).next() == Some("assistant");
        let name = channel.as_deref().and_then(channel_name);
        let part = match (channel.is_some(), name) {
            _ if !by_assistant || recipient.is_some() => CompletionPart::Other,
            (false, _) | (_, Some("final")) => CompletionPart::Answer,
            (_, Some("analysis")) => CompletionPart::Thinking,
            _ => CompletionPart::Other,
        };
        let known = |name| matches!(name, "analysis" | "commentary" | "final");
        Self {
            channel: name.map(str::to_owned),
            recipient: recipient.map(str::to_owned),
            part,
            well_formed: begun != Begun::WithoutStart
                && (channel.is_none() || name.is_some_and(known)),
        }
    }
}

/// Text where a header was expected, as a model writes that does not follow the format.
#[derive(Debug)]
pub(crate) struct Unframed {
    /// The first word behind `<|channel|>`.
    pub(crate) channel: Option<String>,
    /// What follows the header, as far as there is one.
    pub(crate) text: String,
}

impl Unframed {
    /// Reads tokens that no `<|message|>` follows; `None` if they are a header and nothing more.
    pub(crate) fn read<D: HarmonyDecoder + ?Sized>(
        tokens: &[u32],
        begun: Begun,
        decoder: &D,
    ) -> Option<Self> {
        let (author, channel) = cut(tokens, decoder.special_token(CHANNEL));
        let author = decoder.decode(author);
        let before = match begun {
            Begun::ByStart => without_role(&author),
            Begun::ByPrompt | Begun::WithoutStart => author.as_str(),
        };
        let Some(channel) = channel.map(|tokens| decoder.decode(tokens)) else {
            return Self::new(None, before);
        };
        let channel = channel.trim_start();
        let (name, behind) = channel
            .split_once(char::is_whitespace)
            .unwrap_or((channel, ""));
        let text = [before.trim(), behind.trim_start()];
        let text: Vec<&str> = text.into_iter().filter(|text| !text.is_empty()).collect();
        Self::new(Some(name.to_owned()), &text.join("\n"))
    }

    fn new(channel: Option<String>, text: &str) -> Option<Self> {
        (!text.trim().is_empty()).then(|| Self {
            channel,
            text: text.to_owned(),
        })
    }
}

/// The tokens before and behind the first `marker`.
fn cut(tokens: &[u32], marker: Option<u32>) -> (&[u32], Option<&[u32]>) {
    match tokens.iter().position(|token| Some(*token) == marker) {
        Some(at) => (&tokens[..at], Some(&tokens[at + 1..])),
        None => (tokens, None),
    }
}

fn without_role(author: &str) -> &str {
    const ROLES: [Role; 5] = [
        Role::Assistant,
        Role::User,
        Role::Developer,
        Role::System,
        Role::Tool,
    ];
    let stripped = ROLES
        .iter()
        .find_map(|role| author.strip_prefix(role.as_str()));
    stripped.unwrap_or(author)
}

fn recipient(text: &str) -> Option<&str> {
    let mut words = text.split_whitespace();
    words.find_map(|word| word.strip_prefix("to="))
}

fn channel_name(text: &str) -> Option<&str> {
    let mut words = text.split_whitespace();
    words.next().filter(|word| !word.starts_with("to="))
}
