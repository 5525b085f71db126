//! A tokenizer for tests: all bytes, one merge and the special tokens of harmony.

use serde_json::{Value, json};

use super::Tokenizer;
use crate::error::GptOssError;

/// A byte-level BPE with one merge and the special tokens of harmony behind the 257 others.
pub(crate) fn tokenizer_json(special: &[(&str, bool)]) -> Value {
    let mut vocab: serde_json::Map<String, Value> = serde_json::Map::new();
    let mut alphabet: Vec<char> = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').collect();
    let n_others = 256 - alphabet.len() as u32;
    alphabet.extend((256..256 + n_others).filter_map(char::from_u32));
    for (id, symbol) in alphabet.iter().enumerate() {
        vocab.insert(symbol.to_string(), json!(id));
    }
    vocab.insert("en".to_owned(), json!(256));
    let added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(index, (text, special))| {
            json!({"id": 257 + index, "content": text, "special": special,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
            "trim_offsets": true, "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true,
            "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "ignore_merges": false, "vocab": vocab,
            "merges": [["e", "n"]]},
    })
}

/// Special tokens and whether they are marked as such; the first has id 257.
pub(crate) const HARMONY: [(&str, bool); 7] = [
    ("<|return|>", true),
    ("<|constrain|>", true),
    ("<|channel|>", true),
    ("<|start|>", true),
    ("<|end|>", true),
    ("<|message|>", true),
    ("<|call|>", true),
];

pub(crate) fn load(json: &Value) -> Result<Tokenizer, GptOssError> {
    Tokenizer::from_bytes(json.to_string().as_bytes())
}

pub(crate) fn small_tokenizer() -> Tokenizer {
    load(&tokenizer_json(&HARMONY)).unwrap()
}
