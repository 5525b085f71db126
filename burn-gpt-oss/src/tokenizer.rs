//! Text to tokens and back with the `tokenizer.json` of a checkpoint.

use std::fmt;
use std::path::{Path, PathBuf};

use tokenizers::{EncodeInput, InputSequence};

use crate::GptOssError;
use crate::chat::{HarmonyDecoder, HarmonyEncoder, missing_special_tokens};

/// The tokenizer of a gpt-oss checkpoint: o200k byte-level BPE with the special tokens of harmony.
///
/// Text never becomes a special token: a user who types `<|end|>` gets the tokens of these seven
/// characters. Special tokens are placed by id, see [`special_token`](Self::special_token).
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
}

impl Tokenizer {
    /// Loads a `tokenizer.json` file.
    ///
    /// # Errors
    ///
    /// [`GptOssError::Io`] if the file cannot be read, and the errors of
    /// [`from_bytes`](Self::from_bytes).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, GptOssError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(GptOssError::io(path, "read"))?;
        Self::parse(&bytes, path.to_owned())
    }

    /// Loads the contents of a `tokenizer.json` file.
    ///
    /// # Errors
    ///
    /// [`GptOssError::Tokenizer`] if the contents are malformed or a special token of harmony is not
    /// marked as special, and [`GptOssError::MissingSpecialTokens`] if `<|start|>`, `<|end|>`,
    /// `<|message|>`, `<|channel|>` or `<|return|>` are absent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GptOssError> {
        Self::parse(bytes, PathBuf::from("tokenizer.json"))
    }

    fn parse(bytes: &[u8], path: PathBuf) -> Result<Self, GptOssError> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|error| tokenizer_error(&path, format!("not a valid tokenizer: {error}")))?;
        refuse_plain_markers(&inner, &path)?;
        inner.set_encode_special_tokens(true);
        // A file may carry the truncation or padding of whoever saved it; both would change texts.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| tokenizer_error(&path, error.to_string()))?;
        let tokenizer = Self { inner, path };
        let missing = missing_special_tokens(|text| tokenizer.special_token(text));
        if missing.is_empty() {
            Ok(tokenizer)
        } else {
            Err(GptOssError::MissingSpecialTokens { tokens: missing })
        }
    }

    /// The tokens of `text`, in which the spelling of a special token is ordinary text.
    ///
    /// # Errors
    ///
    /// [`GptOssError::Tokenizer`] if the model of the tokenizer refuses the text, which byte-level BPE
    /// with a complete byte alphabet never does.
    pub fn encode_ordinary(&self, text: &str) -> Result<Vec<u32>, GptOssError> {
        let input = EncodeInput::Single(InputSequence::from(text));
        let encoding = self.inner.encode_fast(input, false).map_err(|error| {
            tokenizer_error(&self.path, format!("cannot encode a text: {error}"))
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The id of a special token such as `<|start|>`.
    pub fn special_token(&self, text: &str) -> Option<u32> {
        let added = self.inner.get_added_vocabulary();
        added
            .get_vocab()
            .get(text)
            .copied()
            .filter(|_| added.is_special_token(text))
    }

    /// The text of `tokens`; special tokens appear in their spelling, and whatever is not valid UTF-8
    /// or not in the vocabulary as U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.decode_with(tokens, |spelling| spelling)
    }

    /// As [`decode`](Self::decode), without the special tokens.
    pub fn decode_without_special_tokens(&self, tokens: &[u32]) -> String {
        self.decode_with(tokens, |_| "")
    }

    /// The number of tokens with a text. Smaller than the `vocab_size` of the model, whose last rows
    /// are reserved.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The spelling of a token in the vocabulary file, for ordinary tokens in the byte alphabet of
    /// byte-level BPE (`Ġ` for a space).
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The file the tokenizer was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn decode_with(&self, tokens: &[u32], special: impl Fn(&str) -> &str) -> String {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        let mut text = String::new();
        // The decoder of the file knows neither unknown ids nor where special tokens break a
        // character, so it only sees runs of ordinary tokens.
        for run in tokens.chunk_by(|a, b| self.is_ordinary(*a) && self.is_ordinary(*b)) {
            match run {
                [id] if added.contains_key(id) => text.push_str(special(&added[id].content)),
                [id] if !self.is_ordinary(*id) => text.push(char::REPLACEMENT_CHARACTER),
                _ => text.push_str(&self.decode_run(run)),
            }
        }
        text
    }

    fn decode_run(&self, run: &[u32]) -> String {
        let decoded = self.inner.decode(run, false);
        decoded.unwrap_or_else(|_| char::REPLACEMENT_CHARACTER.to_string())
    }

    fn is_ordinary(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        !added.contains_key(&id) && self.inner.id_to_token(id).is_some()
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

impl HarmonyEncoder for Tokenizer {
    fn encode_ordinary(&self, text: &str) -> Result<Vec<u32>, GptOssError> {
        Self::encode_ordinary(self, text)
    }

    fn special_token(&self, text: &str) -> Option<u32> {
        Self::special_token(self, text)
    }
}

impl HarmonyDecoder for Tokenizer {
    fn decode(&self, tokens: &[u32]) -> String {
        Self::decode(self, tokens)
    }
}

/// An added token that is not special would be recognised in the middle of a user's text.
fn refuse_plain_markers(inner: &tokenizers::Tokenizer, path: &Path) -> Result<(), GptOssError> {
    let added = inner.get_added_vocabulary();
    let is_plain = |text: &str| {
        text.starts_with("<|") && text.ends_with("|>") && !added.is_special_token(text)
    };
    match added.get_vocab().keys().find(|text| is_plain(text)) {
        Some(text) => Err(tokenizer_error(
            path,
            format!("`{text}` is not marked as special; set \"special\": true in added_tokens"),
        )),
        None => Ok(()),
    }
}

fn tokenizer_error(path: &Path, message: String) -> GptOssError {
    GptOssError::Tokenizer {
        path: path.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A byte-level BPE with one merge and the special tokens of harmony behind the 257 others.
    fn tokenizer_json(special: &[(&str, bool)]) -> Value {
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

    const HARMONY: [(&str, bool); 7] = [
        ("<|return|>", true),
        ("<|constrain|>", true),
        ("<|channel|>", true),
        ("<|start|>", true),
        ("<|end|>", true),
        ("<|message|>", true),
        ("<|call|>", true),
    ];

    fn load(json: &Value) -> Result<Tokenizer, GptOssError> {
        Tokenizer::from_bytes(json.to_string().as_bytes())
    }

    #[test]
    fn special_spellings_in_text_are_ordinary_text() {
        let tokenizer = load(&tokenizer_json(&HARMONY)).unwrap();
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
        let tokenizer = load(&tokenizer_json(&HARMONY)).unwrap();
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
        let tokenizer = load(&tokenizer_json(&HARMONY)).unwrap();
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
}
