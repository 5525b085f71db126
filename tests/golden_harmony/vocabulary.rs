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
        let bytes = |token: &u32| {
            self.token_bytes(*token)
                .unwrap_or_else(|| "\u{fffd}".into())
        };
        let bytes: Vec<u8> = tokens.iter().flat_map(bytes).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn token_bytes(&self, token: u32) -> Option<Vec<u8>> {
        if token == BEYOND_VOCABULARY.0 {
            return Some(BEYOND_VOCABULARY.1.into());
        }
        self.0.decode_bytes(&[token]).ok()
    }
}

/// Our tokenizer with the same vocabulary in the form of a `tokenizer.json` file.
pub fn tokenizer() -> Tokenizer {
    Tokenizer::from_bytes(tokenizer_json().to_string().as_bytes()).unwrap()
}

/// Our tokenizer with the vocabulary in tiktoken's form.
pub fn tiktoken_file() -> Tokenizer {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let bytes = |rank: u32| {
        Reference::new()
            .token_bytes(rank)
            .expect("an ordinary token")
    };
    let lines = (0..N_ORDINARY).map(|rank| format!("{} {rank}\n", base64(&bytes(rank))));
    std::fs::write(file.path(), lines.collect::<String>()).expect("written");
    Tokenizer::from_tiktoken(file.path()).expect("a vocabulary")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            match digit <= chunk.len() {
                true => text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63])),
                false => text.push('='),
            }
        }
    }
    text
}
