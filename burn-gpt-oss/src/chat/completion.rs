use super::encoder::HarmonyDecoder;
use super::header::CompletionPart;
use super::turn::{Step, Turn};

/// What a model answered to a prompt of [`render_completion`](crate::render_completion).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// The reasoning: messages in channel `analysis`, joined by a newline.
    pub thinking: Option<String>,
    /// The answer: messages in channel `final` or without channel, joined by a newline.
    pub content: Option<String>,
    /// Whether the model ended its turn, usually with `<|return|>` or `<|call|>`.
    pub finished: bool,
}

/// Reads what a model generated after `<|start|>assistant`, up to the end of its turn.
///
/// Accepts every token sequence: a message that breaks off is kept as far as it goes. Tool calls, other
/// channels, messages in the name of other roles and text that is no message are left out;
/// [`CompletionStream`](crate::CompletionStream) tells them, too.
pub fn parse_completion<D: HarmonyDecoder + ?Sized>(tokens: &[u32], decoder: &D) -> Completion {
    parse_completion_until(tokens, decoder, &[])
}

/// As [`parse_completion`], for a generation that also ends at other tokens, such as those that
/// `eos_token_id` of `generation_config.json` lists.
pub fn parse_completion_until<D: HarmonyDecoder + ?Sized>(
    tokens: &[u32],
    decoder: &D,
    stop_tokens: &[u32],
) -> Completion {
    let mut completion = Completion::default();
    let mut turn = Turn::new(decoder);
    turn.add_turn_ends(stop_tokens);
    let mut open = None;
    for (index, &token) in tokens.iter().enumerate() {
        match turn.step(token) {
            Step::Start(header) => open = Some((header.part, index + 1)),
            Step::End => {
                if let Some((part, start)) = open.take() {
                    completion.add(part, &decoder.decode(&tokens[start..index]));
                }
            }
            Step::Content | Step::None | Step::Unframed(_) | Step::UnframedStart(_) => {}
        }
    }
    if let Some((part, start)) = open {
        completion.add(part, &decoder.decode(&tokens[start..]));
    }
    completion.finished = turn.is_finished();
    completion
}

impl Completion {
    fn add(&mut self, part: CompletionPart, text: &str) {
        let target = match part {
            CompletionPart::Thinking => &mut self.thinking,
            CompletionPart::Answer => &mut self.content,
            CompletionPart::Other => return,
        };
        match target {
            Some(earlier) => {
                earlier.push('\n');
                earlier.push_str(text);
            }
            None => *target = Some(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::HarmonyEncoder;
    use crate::chat::encoder::{CALL, CHANNEL, CONSTRAIN, END, MESSAGE, RETURN, START};
    use crate::error::GptOssError;

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
