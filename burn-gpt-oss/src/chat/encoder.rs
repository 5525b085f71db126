use crate::error::GptOssError;

pub(crate) const START: &str = "<|start|>";
pub(crate) const END: &str = "<|end|>";
pub(crate) const MESSAGE: &str = "<|message|>";
pub(crate) const CHANNEL: &str = "<|channel|>";
pub(crate) const RETURN: &str = "<|return|>";
pub(crate) const CALL: &str = "<|call|>";
pub(crate) const CONSTRAIN: &str = "<|constrain|>";

const REQUIRED: [&str; 5] = [START, END, MESSAGE, CHANNEL, RETURN];

/// Turns text into tokens of the harmony vocabulary.
///
/// Implemented by [`Tokenizer`](crate::Tokenizer); other implementations can stand in for it.
pub trait HarmonyEncoder {
    /// The tokens of `text`, in which the spelling of a special token is ordinary text.
    ///
    /// # Errors
    ///
    /// [`GptOssError::Tokenizer`] if the tokenizer cannot encode the text.
    fn encode_ordinary(&self, text: &str) -> Result<Vec<u32>, GptOssError>;

    /// The id of a special token such as `<|start|>`, if the vocabulary has it.
    fn special_token(&self, text: &str) -> Option<u32>;
}

/// Turns tokens of the harmony vocabulary back into text.
pub trait HarmonyDecoder: HarmonyEncoder {
    /// The text of `tokens`; special tokens appear in their spelling, and whatever is not valid
    /// UTF-8 or not in the vocabulary as U+FFFD.
    fn decode(&self, tokens: &[u32]) -> String;

    /// The bytes that a token adds to a text, the spelling of a special one; `None` if the id has no text.
    fn token_bytes(&self, token: u32) -> Option<Vec<u8>>;
}

/// The tokens that end the turn of the model: `<|return|>` and `<|call|>`, those present.
pub fn stop_tokens<E: HarmonyEncoder + ?Sized>(encoder: &E) -> Vec<u32> {
    [RETURN, CALL]
        .iter()
        .filter_map(|text| encoder.special_token(text))
        .collect()
}

/// The special tokens of every harmony message that `lookup` does not know.
pub(crate) fn missing_special_tokens(lookup: impl Fn(&str) -> Option<u32>) -> Vec<String> {
    let missing = REQUIRED.iter().filter(|text| lookup(text).is_none());
    missing.map(|&text| text.to_owned()).collect()
}

/// The ids of the special tokens of every harmony message.
pub(crate) struct Markers {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) message: u32,
    pub(crate) channel: u32,
    pub(crate) turn_end: u32,
}

impl Markers {
    pub(crate) fn resolve<E: HarmonyEncoder + ?Sized>(encoder: &E) -> Result<Self, GptOssError> {
        let [start, end, message, channel, turn_end] =
            REQUIRED.map(|text| encoder.special_token(text));
        match (start, end, message, channel, turn_end) {
            (Some(start), Some(end), Some(message), Some(channel), Some(turn_end)) => Ok(Self {
                start,
                end,
                message,
                channel,
                turn_end,
            }),
            _ => {
                let tokens = missing_special_tokens(|text| encoder.special_token(text));
                Err(GptOssError::MissingSpecialTokens { tokens })
            }
        }
    }
}

/// The id of a special token that only some messages need.
pub(crate) fn optional_marker<E: HarmonyEncoder + ?Sized>(
    encoder: &E,
    text: &str,
) -> Result<u32, GptOssError> {
    encoder
        .special_token(text)
        .ok_or_else(|| GptOssError::MissingSpecialTokens {
            tokens: vec![text.to_owned()],
        })
}
