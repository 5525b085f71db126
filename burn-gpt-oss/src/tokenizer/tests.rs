use super::small::{HARMONY, load, small_tokenizer, tokenizer_json};
use super::*;
use crate::config::GptOssConfig;
use serde_json::json;

#[test]
fn special_spellings_in_text_are_ordinary_text() {
    let tokenizer = small_tokenizer();
    let tokens = tokenizer.encode_ordinary("<|end|>").unwrap();
    assert_eq!(tokens.len(), 6, "`en` is merged: {tokens:?}");
    assert!(tokens.iter().all(|&id| id <= 256), "{tokens:?}");
    assert_eq!(tokenizer.special_token("<|end|>"), Some(261));
    assert_eq!(tokenizer.special_token("en"), None);
    assert_eq!(tokenizer.vocab_size(), 264);
    assert_eq!(tokenizer.id_to_token(261).as_deref(), Some("<|end|>"));
}

#[test]
fn any_text_survives_a_round_trip() {
    let tokenizer = small_tokenizer();
    for text in [
        "",
        " ",
        "Grüße 漢字 😀\r\n\t",
        "a <|start|> b",
        "\u{0}\u{7f}\u{a0}",
    ] {
        let tokens = tokenizer.encode_ordinary(text).unwrap();
        assert_eq!(tokenizer.decode(&tokens), text);
    }
}

#[test]
fn decoding_is_lossy_and_shows_special_tokens() {
    let tokenizer = small_tokenizer();
    let smile = tokenizer.encode_ordinary("😀").unwrap();
    let tokens = [&smile[..2], &[261], &smile[..], &[9999]].concat();
    assert_eq!(tokenizer.decode(&tokens), "\u{fffd}<|end|>😀\u{fffd}");
    assert_eq!(
        tokenizer.decode_without_special_tokens(&tokens),
        "\u{fffd}😀\u{fffd}"
    );
}

#[test]
fn missing_special_tokens_are_listed() {
    let error = load(&tokenizer_json(&HARMONY[2..5])).unwrap_err();
    match error {
        GptOssError::MissingSpecialTokens { tokens } => {
            assert_eq!(tokens, ["<|message|>", "<|return|>"]);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn markers_that_text_could_produce_are_refused() {
    let mut special = HARMONY;
    special[4].1 = false;
    let error = load(&tokenizer_json(&special)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`<|end|>` is not marked as special"),
        "{error}"
    );
}

#[test]
fn truncation_and_padding_of_the_file_are_ignored() {
    let mut json = tokenizer_json(&HARMONY);
    json["truncation"] = json!({"direction": "Right", "max_length": 2,
        "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right",
        "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "!"});
    let tokenizer = load(&json).unwrap();
    assert_eq!(tokenizer.encode_ordinary("abcd").unwrap().len(), 4);
}

#[test]
fn errors_name_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokenizer.json");
    let error = Tokenizer::from_file(&path).unwrap_err();
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
    std::fs::write(&path, "{").unwrap();
    let error = Tokenizer::from_file(&path).unwrap_err();
    assert!(
        matches!(&error, GptOssError::Tokenizer { path: named, .. } if *named == path),
        "{error}"
    );
}

#[test]
fn bytes_of_the_tokens_are_those_of_the_text() {
    let tokenizer = small_tokenizer();
    for text in [
        "",
        "Grüße, 漢字 😀 e\u{301}\r\n",
        "\u{0}\u{7f}\u{a0}\u{ad}",
        "hen",
    ] {
        let tokens = tokenizer.encode_ordinary(text).unwrap();
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|id| tokenizer.token_bytes(*id).unwrap())
            .collect();
        assert_eq!(bytes, text.as_bytes());
        assert_eq!(tokenizer.decode(&tokens).as_bytes(), bytes);
    }
}

#[test]
fn every_byte_has_its_token() {
    let tokenizer = small_tokenizer();
    let mut bytes: Vec<u8> = (0..256)
        .flat_map(|id| tokenizer.token_bytes(id).unwrap())
        .collect();
    for (id, byte) in bytes.iter().enumerate() {
        let decoded = tokenizer.decode(&[id as u32]);
        assert_eq!(decoded, String::from_utf8_lossy(&[*byte]));
    }
    bytes.sort_unstable();
    assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
}

#[test]
fn special_tokens_have_their_spelling_and_unknown_ids_nothing() {
    let tokenizer = small_tokenizer();
    assert_eq!(tokenizer.token_bytes(256).unwrap(), b"en");
    assert_eq!(tokenizer.token_bytes(261).unwrap(), b"<|end|>");
    assert_eq!(tokenizer.token_bytes(264), None);
}

#[test]
fn unknown_special_tokens_are_refused_with_those_that_exist() {
    let tokenizer = small_tokenizer();
    assert_eq!(tokenizer.require_special_token("<|end|>").unwrap(), 261);
    for unknown in ["<|End|>", "en", ""] {
        let error = tokenizer.require_special_token(unknown).unwrap_err();
        let named = format!("`{unknown}`");
        let text = error.to_string();
        assert!(text.starts_with("tokenizer.json: ") && text.contains(&named));
        assert!(text.contains("`<|return|>`, `<|constrain|>`"), "{text}");
    }
}

/// The markers of the small tokenizer have the ids 257 to 263.
#[test]
fn a_tokenizer_of_another_model_is_refused_with_both_ids() {
    let tokenizer = small_tokenizer();
    let check = |vocab_size, eos_token_id| {
        let config = GptOssConfig {
            vocab_size,
            eos_token_id,
            ..GptOssConfig::gpt_oss_20b()
        };
        tokenizer.check(&config).map_err(|error| error.to_string())
    };
    assert_eq!(check(264, Some(257)), Ok(()));
    assert_eq!(check(264, None), Ok(()));
    let error = check(264, Some(511)).unwrap_err();
    assert!(
        error.contains("`<|return|>` is token 257, expected 511"),
        "{error}"
    );
    let error = check(201_088, None).unwrap_err();
    assert!(error.contains("is token 257, expected 200002"), "{error}");
    let error = check(260, None).unwrap_err();
    assert!(error.contains("below `vocab_size` = 260"), "{error}");
}
