use super::encoder::{CHANNEL, CONSTRAIN, HarmonyDecoder};
use super::message::Role;

/// What a message of the model is to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompletionPart {
    /// Reasoning: channel `analysis`.
    Thinking,
    /// The answer: channel `final`, or no channel.
    Answer,
    /// What the model tells the person before it calls tools: channel `commentary`.
    Preamble,
    /// A call of a tool, whatever its channel.
    Call,
    /// Another channel, a message in the name of another role, or text outside of all messages.
    Other,
}

/// How a header began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// By the prompt, which names the role.
    ByPrompt,
    /// By `<|start|>`; a role follows.
    ByStart,
    /// By something else than `<|start|>` behind the end of a message.
    WithoutStart,
}

/// The header of a message, as far as it can be read.
#[derive(Debug)]
pub(crate) struct Header {
    /// The author, if it is not the assistant.
    pub(crate) role: Option<String>,
    /// The channel; `None` if there is none or its name is missing.
    pub(crate) channel: Option<String>,
    /// Whom the message is addressed to.
    pub(crate) recipient: Option<String>,
    pub(crate) part: CompletionPart,
    /// Words that belong to no header.
    pub(crate) stray: Option<Unframed>,
    /// Whether `<|start|>` was there, the assistant speaks in a channel that harmony has, and nothing
    /// else stands in the header.
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
        // Behind the marker is the type of the content.
        let (author, _) = cut(author, decoder.special_token(CONSTRAIN));
        let author = decoder.decode(author);
        let channel = channel.map(|channel| {
            // Behind the marker is the type of the content.
            let (name, _) = cut(channel, decoder.special_token(CONSTRAIN));
            decoder.decode(name)
        });
        let role = match begun {
            Begun::ByStart => author
                .split([' ', ':'])
                .next()
                .filter(|role| !role.is_empty() && *role != "assistant"),
            Begun::ByPrompt | Begun::WithoutStart => None,
        };
        let name = channel.as_deref().and_then(channel_name);
        let addressed = recipient(&author).or_else(|| recipient(channel.as_deref()?));
        // Models put the name of a tool behind the channel, or in its place.
        let misplaced = channel
            .as_deref()
            .and_then(tool_name)
            .filter(|_| addressed.is_none());
        let recipient = addressed.or(misplaced);
        let name = name.filter(|name| misplaced != Some(*name));
        let part = match recipient {
            _ if role.is_some() => CompletionPart::Other,
            Some(_) => CompletionPart::Call,
            None if channel.is_none() => CompletionPart::Answer,
            None => part_of(name),
        };
        let stray = stray_words(&author, begun, channel.as_deref());
        let in_channel = channel.is_none() || name.is_some_and(is_channel);
        Self {
            role: role.map(str::to_owned),
            channel: name.map(str::to_owned),
            recipient: recipient.map(str::to_owned),
            part,
            well_formed: begun != Begun::WithoutStart
                && role.is_none()
                && misplaced.is_none()
                && in_channel
                && stray.is_none(),
            stray,
        }
    }
}

/// Words of a header beyond role, recipient, channel and type of the content.
fn stray_words(author: &str, begun: Begun, channel: Option<&str>) -> Option<Unframed> {
    let is_word = |word: &&str| !word.starts_with("to=");
    let before = author.split_whitespace().filter(is_word);
    let roles = usize::from(begun == Begun::ByStart);
    let mut before: Vec<&str> = before.skip(roles).collect();
    if begun == Begun::WithoutStart {
        before.retain(|word| *word != Role::Assistant.as_str());
    }
    let behind = channel.unwrap_or_default().split_whitespace();
    let behind = behind.filter(is_word).skip(1);
    let behind: Vec<&str> = behind.filter(|word| !is_tool(word)).collect();
    // One word may be the type of the content, as the chat template writes it.
    let behind = if behind.len() > 1 { behind } else { Vec::new() };
    Unframed::new(None, None, &[before, behind].concat().join(" "))
}

/// What a message without recipient is, by its channel.
pub(crate) fn part_of(channel: Option<&str>) -> CompletionPart {
    match channel {
        Some("final") => CompletionPart::Answer,
        Some("analysis") => CompletionPart::Thinking,
        Some("commentary") => CompletionPart::Preamble,
        _ => CompletionPart::Other,
    }
}

/// The first word that names a tool.
fn tool_name(text: &str) -> Option<&str> {
    text.split_whitespace().find(|word| is_tool(word))
}

fn is_tool(word: &str) -> bool {
    ["functions.", "browser."]
        .iter()
        .any(|namespace| word.starts_with(namespace))
        || word == "python"
}

/// Text where a header was expected, as a model writes that does not follow the format.
#[derive(Debug)]
pub(crate) struct Unframed {
    /// The first word behind `<|channel|>`, if it is a channel.
    pub(crate) channel: Option<String>,
    /// Whom it is addressed to.
    pub(crate) recipient: Option<String>,
    /// What follows the header, as far as there is one.
    pub(crate) text: String,
}

impl Unframed {
    /// What it is to the reader.
    pub(crate) fn part(&self) -> CompletionPart {
        match &self.recipient {
            Some(_) => CompletionPart::Call,
            None => part_of(self.channel.as_deref()),
        }
    }

    /// Reads tokens that no `<|message|>` follows; `None` if they are a header, or the beginning of one,
    /// and nothing more.
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
            return Self::new(None, None, before);
        };
        let channel = channel.trim_start();
        let (name, behind) = first_word(channel);
        let (name, behind) = match is_channel(name) {
            true => (Some(name), behind),
            // The generation broke off within the name.
            false if CHANNELS.iter().any(|known| known.starts_with(channel)) => return None,
            false => (None, channel),
        };
        let (word, rest) = first_word(behind);
        let (recipient, behind) = match word.strip_prefix("to=") {
            // The type of the content belongs to the header.
            Some(recipient) => (Some(recipient), without_type(rest)),
            None => (None, behind),
        };
        let text = [before.trim(), behind];
        let text: Vec<&str> = text.into_iter().filter(|text| !text.is_empty()).collect();
        Self::new(name, recipient, &text.join("\n"))
    }

    fn new(channel: Option<&str>, recipient: Option<&str>, text: &str) -> Option<Self> {
        (!text.trim().is_empty()).then(|| Self {
            channel: channel.map(str::to_owned),
            recipient: recipient.map(str::to_owned),
            text: text.to_owned(),
        })
    }
}

const CHANNELS: [&str; 3] = ["analysis", "commentary", "final"];

fn is_channel(name: &str) -> bool {
    CHANNELS.contains(&name)
}

fn without_type(text: &str) -> &str {
    let text = text.strip_prefix(CONSTRAIN).unwrap_or(text);
    text.strip_prefix("json").unwrap_or(text).trim_start()
}

/// The first word, and the text behind the space that follows it.
fn first_word(text: &str) -> (&str, &str) {
    let (word, behind) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, behind.trim_start())
}

/// The tokens before and behind the first `marker`.
fn cut(tokens: &[u32], marker: Option<u32>) -> (&[u32], Option<&[u32]>) {
    match tokens.iter().position(|token| Some(*token) == marker) {
        Some(at) => (&tokens[..at], Some(&tokens[at + 1..])),
        None => (tokens, None),
    }
}

fn without_role(author: &str) -> &str {
    let stripped = Role::ALL
        .iter()
        .find_map(|role| author.strip_prefix(role.as_str()));
    stripped.unwrap_or(author)
}

fn recipient(text: &str) -> Option<&str> {
    let mut words = text.split_whitespace();
    let named = words.find_map(|word| word.strip_prefix("to="));
    // What is addressed to the person is no call.
    named.filter(|name| !["all", "user", "assistant"].contains(name))
}

fn channel_name(text: &str) -> Option<&str> {
    let mut words = text.split_whitespace();
    words.next().filter(|word| !word.starts_with("to="))
}
