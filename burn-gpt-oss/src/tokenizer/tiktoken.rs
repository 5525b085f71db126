//! The vocabulary of gpt-oss in tiktoken's form, `o200k_base.tiktoken`: a line per token, its bytes in
//! base64 and its rank. The special tokens behind it are those of harmony.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::byte_alphabet::spelled;

/// Ordinary tokens of the published vocabulary.
const N_ORDINARY: usize = 199_998;
/// Ids behind them, of which harmony names some.
const N_SPECIAL: u32 = 1_090;

/// How a text is cut before merges: openai/tiktoken, `o200k_base`.
const PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// Harmony's names of special tokens; the others are reserved.
const NAMED: [(u32, &str); 9] = [
    (199_998, "<|startoftext|>"),
    (199_999, "<|endoftext|>"),
    (200_002, "<|return|>"),
    (200_003, "<|constrain|>"),
    (200_005, "<|channel|>"),
    (200_006, "<|start|>"),
    (200_007, "<|end|>"),
    (200_008, "<|message|>"),
    (200_012, "<|call|>"),
];

/// The same vocabulary as the contents of a `tokenizer.json`.
pub(super) fn tokenizer_json(text: &str) -> Result<Value, String> {
    let words = words(text)?;
    let ranks: HashMap<&[u8], usize> = words
        .iter()
        .enumerate()
        .map(|(rank, word)| (word.as_slice(), rank))
        .collect();
    if ranks.len() != words.len() {
        return Err("a token stands twice in it".into());
    }
    let spelling = |word: &[u8]| Value::from(spelled(word));
    let entries = words.iter().enumerate();
    let vocab: Map<String, Value> = entries
        .clone()
        .map(|(rank, word)| (spelled(word), json!(rank)))
        .collect();
    let merges: Vec<Value> = entries
        .filter_map(|(rank, word)| Some(word.split_at(merge_point(word, rank, &ranks)?)))
        .map(|(left, right)| json!([spelling(left), spelling(right)]))
        .collect();
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": special_tokens(),
        "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": true, "vocab": vocab, "merges": merges},
    }))
}

/// The bytes of the tokens by rank.
fn words(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::with_capacity(N_ORDINARY);
    for (index, line) in text.lines().enumerate() {
        let broken = |what: &str| format!("line {}: {what}", index + 1);
        let (word, rank) = line
            .split_once(' ')
            .ok_or_else(|| broken("no token and rank"))?;
        if rank.parse() != Ok(words.len()) {
            return Err(broken(&format!(
                "rank {rank} where {} must stand",
                words.len()
            )));
        }
        words.push(base64(word).ok_or_else(|| broken("the token is no base64"))?);
    }
    match words.len() {
        N_ORDINARY => Ok(words),
        other => Err(format!(
            "{other} tokens, the vocabulary of gpt-oss (o200k) has {N_ORDINARY}"
        )),
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let (mut bytes, mut bits, mut n_bits) = (Vec::new(), 0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (bits, n_bits) = ((bits << 6 | u32::from(value)) & 0xffff, n_bits + 6);
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
        }
    }
    Some(bytes)
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

fn special_tokens() -> Vec<Value> {
    let name = |id: u32| {
        let named = NAMED.iter().find(|(named, _)| *named == id);
        named.map_or_else(
            || format!("<|reserved_{id}|>"),
            |(_, name)| (*name).to_owned(),
        )
    };
    let first = N_ORDINARY as u32;
    (first..first + N_SPECIAL)
        .map(|id| {
            json!({"id": id, "content": name(id), "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("TWE=", "Ma"),
            ("Zm9v", "foo"),
            ("Zm9vYmE=", "fooba"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64("//79"), Some(vec![0xff, 0xfe, 0xfd]));
        for broken in ["Zg", "Z===", "Zm9?"] {
            assert_eq!(base64(broken), None);
        }
    }

    #[test]
    fn files_of_other_vocabularies_are_refused() {
        let error = |text: &str| tokenizer_json(text).expect_err("refused");
        assert!(error("IQ== 0\nIg== 1\n").contains("2 tokens"));
        assert!(error("IQ== 0\nIg== 2\n").contains("line 2: rank 2"));
        assert!(error("IQ==\n").contains("line 1"));
    }
}
