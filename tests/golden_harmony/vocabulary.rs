use burn_gpt_oss::{GptOssError, HarmonyDecoder, HarmonyEncoder, Tokenizer};
use tiktoken_rs::{CoreBPE, o200k_harmony_singleton};

use crate::o200k::{N_ORDINARY, tokenizer_json};

/// The library registers one reserved id more than the vocabulary has, tiktoken-rs does not.
pub const BEYOND_VOCABULARY: (u32, &str) = (201_088, "<|reserved_201088|>");

/// tiktoken-rs as an independent encoder.
pub struct Reference(&'static CoreBPE);

impl Reference {
    pub fn new() -> Self {
        Self(o200k_harmony_singleton())
    }

    pub fn encode_with_special_tokens(&self, text: &str) -> Vec<u32> {
        self.0.encode_with_special_tokens(text)
    }

    fn bytes(&self, token: u32) -> Vec<u8> {
        if token == BEYOND_VOCABULARY.0 {
            return BEYOND_VOCABULARY.1.into();
        }
        self.0
            .decode_bytes(&[token])
            .unwrap_or_else(|_| "\u{fffd}".into())
    }
}

impl HarmonyEncoder for Reference {
    fn encode_ordinary(&self, text: &str) -> Result<Vec<u32>, GptOssError> {
        Ok(self.0.encode_ordinary(text))
    }

    fn special_token(&self, text: &str) -> Option<u32> {
        match self.0.encode_with_special_tokens(text)[..] {
            [id] if id >= N_ORDINARY => Some(id),
            _ => None,
        }
    }
}

impl HarmonyDecoder for Reference {
    fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|&token| self.bytes(token)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Our tokenizer with the same vocabulary in the form of a `tokenizer.json` file.
pub fn tokenizer() -> Tokenizer {
    Tokenizer::from_bytes(tokenizer_json().to_string().as_bytes()).unwrap()
}
