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
