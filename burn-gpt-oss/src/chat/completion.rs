use super::encoder::{CALL, CHANNEL, CONSTRAIN, END, HarmonyDecoder, MESSAGE, RETURN, START};

/// What a model answered to a prompt of [`render_completion`](crate::render_completion).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// The reasoning: messages in channel `analysis`, joined by a newline.
    pub thinking: Option<String>,
    /// The answer: messages in channel `final` or without channel, joined by a newline.
    pub content: Option<String>,
    /// Whether the model ended its turn with `<|return|>` or `<|call|>`.
    pub finished: bool,
}

/// Reads what a model generated after `<|start|>assistant`, up to the end of its turn.
///
/// Accepts every token sequence: a message that breaks off is kept as far as it goes, one with a
/// broken header is left out. Tool calls, other channels and messages in the name of other roles are
/// left out as well.
pub fn parse_completion<D: HarmonyDecoder + ?Sized>(tokens: &[u32], decoder: &D) -> Completion {
    let mut parser = Parser::new(decoder);
    let mut state = State::Header {
        start: 0,
        role: Some("assistant"),
    };
    for (index, &token) in tokens.iter().enumerate() {
        state = parser.step(state, tokens, index, token);
        if parser.completion.finished {
            return parser.completion;
        }
    }
    if let State::Content { start, part } = state {
        parser.collect(part, &tokens[start..]);
    }
    parser.completion
}

#[derive(Clone, Copy)]
enum State {
    /// Between the stop token of a message and the next `<|start|>`.
    Between,
    /// In the header; the role is given for the first message, whose prompt ends with it.
    Header {
        start: usize,
        role: Option<&'static str>,
    },
    /// In the content.
    Content { start: usize, part: Part },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Thinking,
    Answer,
    Other,
}

struct Parser<'a, D: ?Sized> {
    decoder: &'a D,
    start: Option<u32>,
    end: Option<u32>,
    message: Option<u32>,
    channel: Option<u32>,
    constrain: Option<u32>,
    stops: [Option<u32>; 2],
    completion: Completion,
}

impl<'a, D: HarmonyDecoder + ?Sized> Parser<'a, D> {
    fn new(decoder: &'a D) -> Self {
        let special = |text| decoder.special_token(text);
        Self {
            decoder,
            start: special(START),
            end: special(END),
            message: special(MESSAGE),
            channel: special(CHANNEL),
            constrain: special(CONSTRAIN),
            stops: [special(RETURN), special(CALL)],
            completion: Completion::default(),
        }
    }

    fn step(&mut self, state: State, tokens: &[u32], index: usize, token: u32) -> State {
        let id = Some(token);
        self.completion.finished = self.stops.contains(&id);
        let is_stop = self.completion.finished || id == self.end;
        match state {
            State::Content { start, part } if is_stop => {
                self.collect(part, &tokens[start..index]);
                State::Between
            }
            State::Content { .. } => state,
            _ if is_stop => State::Between,
            _ if id == self.start => State::Header {
                start: index + 1,
                role: None,
            },
            State::Header { start, role } if id == self.message => {
                let part = self.part(&tokens[start..index], role);
                State::Content {
                    start: index + 1,
                    part,
                }
            }
            State::Header { .. } | State::Between => state,
        }
    }

    fn collect(&mut self, part: Part, content: &[u32]) {
        let target = match part {
            Part::Thinking => &mut self.completion.thinking,
            Part::Answer => &mut self.completion.content,
            Part::Other => return,
        };
        let text = self.decoder.decode(content);
        match target {
            Some(earlier) => {
                earlier.push('\n');
                earlier.push_str(&text);
            }
            None => *target = Some(text),
        }
    }

    /// What a message is, by its header without `<|start|>` and `<|message|>`.
    fn part(&self, header: &[u32], role: Option<&str>) -> Part {
        let at = header.iter().position(|&token| Some(token) == self.channel);
        let (author, channel) = match at {
            Some(at) => (&header[..at], Some(&header[at + 1..])),
            None => (header, None),
        };
        let author = self.decoder.decode(author);
        let by_assistant = role.is_some() || author.split([' ', ':']).next() == Some("assistant");
        if !by_assistant || has_recipient(&author) {
            return Part::Other;
        }
        channel.map_or(Part::Answer, |channel| self.channel_part(channel))
    }

    fn channel_part(&self, tokens: &[u32]) -> Part {
        let name = tokens
            .split(|&token| Some(token) == self.constrain)
            .next()
            .unwrap_or_default();
        let text = self.decoder.decode(name);
        match text.split_whitespace().next() {
            _ if has_recipient(&text) => Part::Other,
            Some("analysis") => Part::Thinking,
            Some("final") => Part::Answer,
            _ => Part::Other,
        }
    }
}

fn has_recipient(header: &str) -> bool {
    header
        .split_whitespace()
        .any(|word| word.starts_with("to="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GptOssError;
    use crate::chat::HarmonyEncoder;

    /// One token per byte, special tokens from 256.
    struct Bytes;

    const SPECIAL: [&str; 7] = [START, END, MESSAGE, CHANNEL, RETURN, CALL, CONSTRAIN];

    impl HarmonyEncoder for Bytes {
        fn encode_ordinary(&self, text: &str) -> Result<Vec<u32>, GptOssError> {
            Ok(text.bytes().map(u32::from).collect())
        }

        fn special_token(&self, text: &str) -> Option<u32> {
            let at = SPECIAL.iter().position(|&special| special == text)?;
            Some(256 + at as u32)
        }
    }

    impl HarmonyDecoder for Bytes {
        fn decode(&self, tokens: &[u32]) -> String {
            let mut bytes = Vec::new();
            for &token in tokens {
                match u8::try_from(token) {
                    Ok(byte) => bytes.push(byte),
                    Err(_) => {
                        let special = SPECIAL.get(token as usize - 256);
                        bytes.extend_from_slice(special.copied().unwrap_or("\u{fffd}").as_bytes());
                    }
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }

    fn parse(text: &str) -> Completion {
        let mut tokens = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(special) = SPECIAL.iter().find(|&&special| rest.starts_with(special)) {
                tokens.extend(Bytes.special_token(special));
                rest = &rest[special.len()..];
            } else {
                tokens.push(u32::from(rest.as_bytes()[0]));
                rest = &rest[1..];
            }
        }
        parse_completion(&tokens, &Bytes)
    }

    fn completion(thinking: Option<&str>, content: Option<&str>, finished: bool) -> Completion {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Completion {
            thinking: owned(thinking),
            content: owned(content),
            finished,
        }
    }

    #[test]
    fn reads_reasoning_and_answer() {
        let text = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final\
            <|message|>4<|return|>ignored";
        assert_eq!(parse(text), completion(Some("hm"), Some("4"), true));
    }

    #[test]
    fn keeps_what_was_cut_off() {
        assert_eq!(
            parse("<|channel|>analysis<|message|>h"),
            completion(Some("h"), None, false)
        );
        assert_eq!(parse("<|channel|>ana"), completion(None, None, false));
        assert_eq!(parse(""), completion(None, None, false));
    }

    #[test]
    fn leaves_out_calls_and_other_roles() {
        let call = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>";
        assert_eq!(parse(call), completion(None, None, true));
        let call = " to=python<|channel|>analysis<|message|>1<|call|>";
        assert_eq!(parse(call), completion(None, None, true));
        let user = "<|message|>a<|end|><|start|>user<|message|>b<|end|>";
        assert_eq!(parse(user), completion(None, Some("a"), false));
    }

    #[test]
    fn accepts_a_content_type_and_a_repeated_start() {
        let typed = "<|channel|>final <|constrain|>json<|message|>{}<|return|>";
        assert_eq!(parse(typed), completion(None, Some("{}"), true));
        let repeated = "<|start|>assistant<|channel|>final<|message|>x<|return|>";
        assert_eq!(parse(repeated), completion(None, Some("x"), true));
    }
}
