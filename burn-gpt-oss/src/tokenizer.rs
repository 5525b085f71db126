//! Text to tokens and back with the `tokenizer.json` of a checkpoint.

mod byte_alphabet;
mod check;
#[cfg(test)]
pub(crate) mod small;
#[cfg(test)]
mod tests;
mod tiktoken;

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use tokenizers::{EncodeInput, InputSequence};

use byte_alphabet::spelled_bytes;

use crate::chat::{HarmonyDecoder, HarmonyEncoder, missing_special_tokens};
use crate::error::GptOssError;
use crate::json_file::LFS_POINTER;

/// The tokenizer of a gpt-oss checkpoint: o200k byte-level BPE with the special tokens of harmony.
///
/// Text never becomes a special token: a user who types `<|end|>` gets the tokens of these seven
/// characters. Special tokens are placed by id, see [`special_token`](Self::special_token).
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    content_hash: u64,
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

    /// Loads a vocabulary in tiktoken's form, `o200k_base.tiktoken`, with harmony's special tokens.
    ///
    /// # Errors
    ///
    /// [`GptOssError::Io`] if the file cannot be read, [`GptOssError::Tokenizer`] if it does not have the number of
    /// tokens that the vocabulary of gpt-oss has.
    pub fn from_tiktoken(path: impl AsRef<Path>) -> Result<Self, GptOssError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(GptOssError::io(path, "read"))?;
        if text.starts_with(LFS_POINTER) {
            return Err(GptOssError::LfsPointer {
                path: path.to_owned(),
            });
        }
        let json =
            tiktoken::tokenizer_json(&text).map_err(|reason| tokenizer_error(path, reason))?;
        Self::parse(json.to_string().as_bytes(), path.to_owned())
    }

    fn parse(bytes: &[u8], path: PathBuf) -> Result<Self, GptOssError> {
        if bytes.starts_with(LFS_POINTER.as_bytes()) {
            return Err(GptOssError::LfsPointer { path });
        }
        // Editors on Windows write a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        // The library itself panics at some malformed decoders.
        let read = catch_unwind(|| tokenizers::Tokenizer::from_bytes(bytes));
        let read = read.unwrap_or_else(|_| Err("its reader gave up".into()));
        let mut inner = read
            .map_err(|error| tokenizer_error(&path, format!("not a valid tokenizer: {error}")))?;
        refuse_plain_markers(&inner, &path)?;
        inner.set_encode_special_tokens(true);
        // A file may carry the truncation or padding of whoever saved it; both would change texts.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| tokenizer_error(&path, error.to_string()))?;
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let tokenizer = Self {
            inner,
            path,
            content_hash: hasher.finish(),
        };
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

    /// As [`special_token`](Self::special_token), for spellings that a user gave.
    ///
    /// # Errors
    ///
    /// [`GptOssError::UnknownSpecialToken`], which lists the special tokens that there are.
    pub fn require_special_token(&self, text: &str) -> Result<u32, GptOssError> {
        self.special_token(text)
            .ok_or_else(|| GptOssError::UnknownSpecialToken {
                path: self.path.clone(),
                token: text.to_owned(),
                known: self.special_tokens(),
            })
    }

    /// The spellings of the special tokens in the order of their ids.
    fn special_tokens(&self) -> Vec<String> {
        let added = self.inner.get_added_vocabulary();
        let mut special: Vec<(u32, &String)> = added
            .get_vocab()
            .iter()
            .filter(|(text, _)| added.is_special_token(text))
            .map(|(text, id)| (*id, text))
            .collect();
        special.sort_unstable();
        special.into_iter().map(|(_, text)| text.clone()).collect()
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

    /// The bytes that a token adds to a text: any bytes for an ordinary token, whose characters may
    /// be spread over several, and the spelling of a special one. `None` if the id has no text.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        match self.piece(id) {
            Piece::Bytes(bytes) => Some(bytes),
            Piece::Added(spelling) => Some(spelling.into_bytes()),
            Piece::Unknown => None,
        }
    }

    pub(crate) fn piece(&self, id: u32) -> Piece {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        if let Some(token) = added.get(&id) {
            return Piece::Added(token.content.clone());
        }
        match self.inner.id_to_token(id) {
            Some(token) => Piece::Bytes(spelled_bytes(&token)),
            None => Piece::Unknown,
        }
    }

    /// A number that tells this vocabulary apart from others, for a cache; another version of Rust may compute it
    /// otherwise.
    pub fn content_hash(&self) -> u64 {
        self.content_hash
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

/// What one token adds to a text.
pub(crate) enum Piece {
    /// Bytes of characters that earlier and later tokens may share.
    Bytes(Vec<u8>),
    /// The spelling of an added token, which stands for itself.
    Added(String),
    /// The id has no text; decoding shows U+FFFD.
    Unknown,
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

    fn token_bytes(&self, token: u32) -> Option<Vec<u8>> {
        Self::token_bytes(self, token)
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
