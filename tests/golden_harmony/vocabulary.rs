use std::collections::HashMap;

use burn_gpt_oss::{GptOssError, HarmonyDecoder, HarmonyEncoder, Tokenizer};
use serde_json::{Value, json};
use tiktoken_rs::{CoreBPE, o200k_harmony_singleton};

const N_ORDINARY: u32 = 199_998;

/// The library registers one reserved id more than the vocabulary has, tiktoken-rs does not.
pub const BEYOND_VOCABULARY: (u32, &str) = (201_088, "<|reserved_201088|>");

const PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

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

fn tokenizer_json() -> Value {
    let reference = Reference::new();
    let words: Vec<Vec<u8>> = (0..N_ORDINARY)
        .map(|token| reference.bytes(token))
        .collect();
    let ranks: HashMap<&[u8], usize> = words
        .iter()
        .enumerate()
        .map(|(rank, word)| (word.as_slice(), rank))
        .collect();
    let symbols = symbols();
    let spell = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|&byte| symbols[usize::from(byte)])
            .collect::<String>()
    };
    let vocab: serde_json::Map<String, Value> = words
        .iter()
        .enumerate()
        .map(|(rank, word)| (spell(word), json!(rank)))
        .collect();
    let merges: Vec<Value> = words
        .iter()
        .enumerate()
        .filter_map(|(rank, word)| Some((word, merge_point(word, rank, &ranks)?)))
        .map(|(word, at)| json!([spell(&word[..at]), spell(&word[at..])]))
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens(&reference),
        "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": true, "vocab": vocab, "merges": merges},
    })
}

/// The 21 tokens that the published file has, with its own name for 200018.
fn added_tokens(reference: &Reference) -> Vec<Value> {
    let name = |id: u32| match id {
        200_018 => "<|endofprompt|>".to_owned(),
        _ => reference.decode(&[id]),
    };
    (N_ORDINARY..=200_018)
        .map(|id| {
            json!({"id": id, "content": name(id), "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect()
}

/// The printable stand-in of every byte in byte-level BPE (GPT-2).
fn symbols() -> Vec<char> {
    let is_printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 256;
    let mut symbol = |byte: u32| {
        let code = if is_printable(byte) {
            byte
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).unwrap()
    };
    (0..256).map(&mut symbol).collect()
}

/// Where the last merge of a word happens if only earlier merges are known.
fn merge_point(word: &[u8], rank: usize, ranks: &HashMap<&[u8], usize>) -> Option<usize> {
    let mut bounds: Vec<usize> = (0..=word.len()).collect();
    while bounds.len() > 3 {
        let pairs = bounds.windows(3).enumerate();
        let (_, at) = pairs
            .filter_map(|(at, pair)| Some((*ranks.get(&word[pair[0]..pair[2]])?, at)))
            .filter(|&(merged, _)| merged < rank)
            .min()?;
        bounds.remove(at + 1);
    }
    (bounds.len() == 3).then(|| bounds[1])
}
