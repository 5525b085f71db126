use super::encoder::HarmonyDecoder;
use super::header::{CompletionPart, Header, Unframed};
use super::tool::ToolCall;
use super::turn::{Step, Turn};

/// What a model answered to a prompt of [`render_completion`](crate::render_completion).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// The reasoning: messages in channel `analysis`, joined by a newline.
    pub thinking: Option<String>,
    /// What the person is told before tools are called: messages in channel `commentary`, joined by a
    /// newline.
    pub preamble: Option<String>,
    /// The answer: messages in channel `final` or without channel, joined by a newline.
    pub content: Option<String>,
    /// The calls of tools.
    pub tool_calls: Vec<ToolCall>,
    /// Whether the model ended its turn, usually with `<|return|>` or `<|call|>`.
    pub finished: bool,
}

/// Reads what a model generated after `<|start|>assistant`, up to the end of its turn.
///
/// Accepts every token sequence: a message that breaks off is kept as far as it goes, and what models do
/// wrong is mended where it can be: no `<|message|>` behind a channel, no stop token before the next
/// message, the name of a tool behind the channel or in its place. Unknown channels, messages in the name
/// of other roles and text that is no message are left out;
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
    let mut open: Option<Open> = None;
    for &token in tokens {
        match turn.step(token) {
            Step::Start(header) => open = Some(header.into()),
            Step::UnframedStart(text) => open = Some(text.into()),
            Step::Unframed(text) => completion.add(text.into(), decoder),
            Step::Content => open.iter_mut().for_each(|open| open.tokens.push(token)),
            Step::End => open
                .take()
                .into_iter()
                .for_each(|open| completion.add(open, decoder)),
            Step::None => {}
        }
    }
    if let Step::Unframed(text) = turn.finish() {
        open = Some(text.into());
    }
    // A call that breaks off is none: its arguments are not all there.
    if let Some(open) = open.filter(|open| open.part != CompletionPart::Call) {
        completion.add(open, decoder);
    }
    completion.finished = turn.is_finished();
    completion
}

/// A message whose end is not read yet.
struct Open {
    part: CompletionPart,
    recipient: Option<String>,
    /// Text that stood where a header was expected.
    before: String,
    tokens: Vec<u32>,
}

impl From<Header> for Open {
    fn from(header: Header) -> Self {
        Self {
            part: header.part,
            recipient: header.recipient,
            before: String::new(),
            tokens: Vec::new(),
        }
    }
}

impl From<Unframed> for Open {
    fn from(text: Unframed) -> Self {
        Self {
            part: text.part(),
            recipient: text.recipient,
            before: text.text,
            tokens: Vec::new(),
        }
    }
}

impl Completion {
    fn add<D: HarmonyDecoder + ?Sized>(&mut self, message: Open, decoder: &D) {
        let text = message.before + &decoder.decode(&message.tokens);
        let target = match message.part {
            CompletionPart::Thinking => &mut self.thinking,
            CompletionPart::Preamble => &mut self.preamble,
            CompletionPart::Answer => &mut self.content,
            CompletionPart::Call => {
                let recipient = message.recipient.unwrap_or_default();
                self.tool_calls.push(ToolCall::generated(&recipient, &text));
                return;
            }
            CompletionPart::Other => return,
        };
        match target {
            Some(earlier) => {
                earlier.push('\n');
                earlier.push_str(&text);
            }
            None => *target = Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

        fn token_bytes(&self, token: u32) -> Option<Vec<u8>> {
            Some(self.decode(&[token]).into_bytes())
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
            ..Completion::default()
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
    fn calls_and_preambles_have_places_of_their_own() {
        let read = parse(
            "<|channel|>commentary<|message|>Plan.<|end|><|start|>assistant<|channel|>commentary \
            to=functions.f <|constrain|>json<|message|>{\"a\": 1}<|call|>",
        );
        assert_eq!(read.preamble.as_deref(), Some("Plan."));
        assert_eq!(read.tool_calls, [ToolCall::new("f", json!({"a": 1}))]);
        assert!(read.finished);
        let python = parse(" to=python<|channel|>analysis code<|message|>print(1)<|call|>");
        assert_eq!(
            python.tool_calls,
            [ToolCall::new("python", json!("print(1)"))]
        );
        let user = "<|message|>a<|end|><|start|>user<|message|>b<|end|>";
        assert_eq!(parse(user), completion(None, Some("a"), false));
    }

    /// As models were seen to write.
    #[test]
    fn what_models_do_wrong_is_mended() {
        let call = [ToolCall::new("f", json!({}))];
        for text in [
            "<|channel|>commentary functions.f json<|message|>{}<|call|>",
            "<|channel|>commentary functions.f<|message|>{}<|call|>",
            "<|channel|>functions.f<|message|>{}<|call|>",
            "<|channel|>commentary to=functions.f {}<|call|>",
        ] {
            assert_eq!(parse(text).tool_calls, call, "{text}");
        }
        let both = completion(Some("hm"), Some("4"), true);
        for text in [
            "<|channel|>analysis hm<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>",
            "<|channel|>analysis<|message|>hm<|start|>assistant<|channel|>final<|message|>4<|return|>",
            "<|channel|>analysis<|message|>hm<|channel|>final<|message|>4<|return|>",
        ] {
            assert_eq!(parse(text), both, "{text}");
        }
    }

    #[test]
    fn accepts_a_content_type_and_a_repeated_start() {
        let typed = "<|channel|>final <|constrain|>json<|message|>{}<|return|>";
        assert_eq!(parse(typed), completion(None, Some("{}"), true));
        let repeated = "<|start|>assistant<|channel|>final<|message|>x<|return|>";
        assert_eq!(parse(repeated), completion(None, Some("x"), true));
    }
}
