use burn_gpt_oss::{HarmonyDecoder, HarmonyEncoder, stop_tokens};
use serde_json::Value;

use super::golden::{assert_keys, list, load, read, text};
use super::vocabulary::{BEYOND_VOCABULARY, Reference};

const KEYS: [&str; 7] = [
    "format",
    "strings",
    "long",
    "decode",
    "special_tokens",
    "stop_tokens",
    "stop_tokens_for_assistant_actions",
];

/// `sha256_u32le` is not compared: `runs`, or length, head and tail identify the tokens well enough.
const LONG_KEYS: [&str; 7] = [
    "unit",
    "count",
    "n_tokens",
    "sha256_u32le",
    "runs",
    "head",
    "tail",
];

const DECODE_KEYS: [&str; 5] = [
    "tokens",
    "replace",
    "replace_error",
    "strict",
    "strict_error",
];

pub fn check<D: HarmonyDecoder>(encoder_name: &str, decoder: &D) {
    let file = load("tokens.json");
    assert_keys("tokens.json", &file, &KEYS);
    let strings = list(&file, "strings");
    for case in strings {
        assert_keys("strings", case, &["text", "ordinary", "special"]);
        let tokens = decoder.encode_ordinary(text(case, "text")).unwrap();
        assert_eq!(
            tokens,
            read::<Vec<u32>>("ordinary", &case["ordinary"]),
            "{}",
            case["text"]
        );
        assert_eq!(decoder.decode(&tokens), text(case, "text"));
    }
    let long = list(&file, "long");
    for case in long {
        assert_keys("long", case, &LONG_KEYS);
        check_long(case, decoder);
    }
    let decode = list(&file, "decode");
    for case in decode {
        assert_keys("decode", case, &DECODE_KEYS);
        check_decode(case, decoder);
    }
    let n_decoded = decode
        .iter()
        .filter(|case| case.get("replace").is_some())
        .count();
    let assistant: Vec<u32> = read("stop_tokens", &file["stop_tokens_for_assistant_actions"]);
    assert_eq!(stop_tokens(decoder), assistant);
    println!(
        "{encoder_name}: {} strings, {} long strings and {} decodings equal",
        strings.len(),
        long.len(),
        n_decoded
    );
    assert!(!strings.is_empty());
}

fn check_long(case: &Value, decoder: &impl HarmonyDecoder) {
    let unit = text(case, "unit");
    let count: usize = read(unit, &case["count"]);
    let tokens = decoder.encode_ordinary(&unit.repeat(count)).unwrap();
    let numbers = |key: &str| read::<Vec<u32>>(unit, &case[key]);
    assert_eq!(
        tokens.len(),
        read::<usize>(unit, &case["n_tokens"]),
        "{unit:?}"
    );
    assert!(tokens.starts_with(&numbers("head")), "{unit:?}");
    assert!(tokens.ends_with(&numbers("tail")), "{unit:?}");
    if let Some(runs) = case.get("runs").filter(|runs| !runs.is_null()) {
        let runs: Vec<(u32, usize)> = read(unit, runs);
        let expected: Vec<u32> = runs
            .into_iter()
            .flat_map(|(token, times)| vec![token; times])
            .collect();
        assert_eq!(tokens, expected, "{unit:?}");
    }
}

fn check_decode(case: &Value, decoder: &impl HarmonyDecoder) {
    let tokens: Vec<u32> = read("tokens", &case["tokens"]);
    let decoded = decoder.decode(&tokens);
    match case.get("replace") {
        Some(expected) => assert_eq!(decoded, read::<String>("replace", expected), "{tokens:?}"),
        // Decoding never fails here: an id without a text becomes U+FFFD.
        None => assert_eq!(
            decoded,
            "\u{fffd}",
            "{tokens:?}: {}",
            text(case, "replace_error")
        ),
    }
    match case.get("strict") {
        Some(expected) => assert_eq!(decoded, read::<String>("strict", expected), "{tokens:?}"),
        None => assert!(
            decoded.contains('\u{fffd}'),
            "{tokens:?}: {}",
            text(case, "strict_error")
        ),
    }
}

pub fn check_special(reference: &Reference) {
    let file = load("tokens.json");
    let table: Vec<(u32, String)> = read("special_tokens", &file["special_tokens"]);
    let (beyond, within): (Vec<_>, Vec<_>) =
        table.iter().partition(|(id, _)| *id == BEYOND_VOCABULARY.0);
    // The library registers one id more than the vocabulary has.
    assert!(beyond.len() <= 1);
    for (id, name) in &within {
        assert_eq!(reference.special_token(name), Some(*id), "{name}");
    }
    let stops: Vec<u32> = read("stop_tokens", &file["stop_tokens"]);
    let expected = ["<|return|>", "<|end|>", "<|call|>"].map(|name| reference.special_token(name));
    assert_eq!(stops.into_iter().map(Some).collect::<Vec<_>>(), expected);

    let mut n_compared = 0;
    for case in list(&file, "strings") {
        let string = text(case, "text");
        if !string.contains(BEYOND_VOCABULARY.1) {
            let expected = case.get("special").unwrap_or(&case["ordinary"]);
            let tokens = reference.encode_with_special_tokens(string);
            assert_eq!(tokens, read::<Vec<u32>>("special", expected), "{string:?}");
            n_compared += 1;
        }
    }
    println!(
        "{} special tokens and {n_compared} strings with special tokens equal",
        within.len()
    );
    assert!(n_compared > 0 && !within.is_empty());
}
