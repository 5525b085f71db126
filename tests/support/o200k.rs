//! The vocabulary of gpt-oss as a `tokenizer.json`, made from that of tiktoken-rs.

use std::collections::HashMap;

use serde_json::{Value, json};
use tiktoken_rs::{CoreBPE, o200k_harmony_singleton};

/// Ordinary tokens; special ones follow.
pub const N_ORDINARY: u32 = 199_998;

const PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// The contents of the file.
pub fn tokenizer_json() -> Value {
    let bpe = o200k_harmony_singleton();
    let words: Vec<Vec<u8>> = (0..N_ORDINARY).map(|token| bytes(bpe, token)).collect();
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
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens(bpe),
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

fn bytes(bpe: &CoreBPE, token: u32) -> Vec<u8> {
    bpe.decode_bytes(&[token])
        .expect("a token of the vocabulary")
}

/// The 21 tokens that the published file has, with its own name for 200018.
fn added_tokens(bpe: &CoreBPE) -> Vec<Value> {
    let name = |id: u32| match id {
        200_018 => "<|endofprompt|>".to_owned(),
        _ => String::from_utf8_lossy(&bytes(bpe, id)).into_owned(),
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
        char::from_u32(code).expect("a letter of the first planes")
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
