//! Trains a small tokenizer of the same make as that of gpt-oss: byte-level BPE behind the o200k
//! splitting pattern, with the special tokens of the harmony format at the end.

// Every program that includes this module uses only a part of it.
#![allow(dead_code)]

use anyhow::{anyhow, ensure};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::parallelism::{get_parallelism, set_parallelism};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    SplitDelimiterBehavior, TokenizerBuilder, TokenizerImpl,
};

/// The special tokens of the harmony format, in the order of their ids.
pub const SPECIAL_TOKENS: [&str; 9] = [
    "<|startoftext|>",
    "<|endoftext|>",
    "<|return|>",
    "<|constrain|>",
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|call|>",
];

/// Every byte is a token, whether the texts contain it or not.
const BYTES: usize = 256;

/// How o200k cuts a text before any merging: words with one leading space or sign, up to three
/// digits, signs, line ends, other white space.
const PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// A BPE tokenizer whose other parts can be of any serializable kind.
type BpeTokenizer = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// Trains on texts that hold no special tokens and returns the contents of a `tokenizer.json`
/// with exactly `vocab_size` entries, the special tokens included. The same texts give the same
/// bytes.
///
/// Fails if `vocab_size` leaves no room for the bytes and the special tokens, or if the texts
/// are too few for so many entries.
pub fn train_tokenizer(texts: &[String], vocab_size: usize) -> anyhow::Result<Vec<u8>> {
    let learned = vocab_size.saturating_sub(SPECIAL_TOKENS.len());
    ensure!(
        learned >= BYTES,
        "a vocabulary of {vocab_size} has no room for all bytes"
    );

    let mut tokenizer = untrained().map_err(|error| anyhow!(error))?;
    train(&mut tokenizer, texts, learned).map_err(|error| anyhow!(error))?;
    let found = tokenizer.get_vocab_size(true);
    ensure!(
        found == learned,
        "the texts only give {found} of {learned} tokens"
    );

    let special = SPECIAL_TOKENS.map(|token| AddedToken::from(token, true));
    tokenizer
        .add_special_tokens(special)
        .map_err(|error| anyhow!(error))?;
    Ok(tokenizer
        .to_string(false)
        .map_err(|error| anyhow!(error))?
        .into_bytes())
}

fn untrained() -> tokenizers::Result<BpeTokenizer> {
    let pattern = SplitPattern::Regex(PATTERN.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
    // The pattern has split already: the byte level must neither split nor add a space.
    let bytes = ByteLevel::new(false, true, false);
    TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()]).into()))
        .with_decoder(Some(ByteLevel::default().into()))
        .build()
}

fn train(tokenizer: &mut BpeTokenizer, texts: &[String], size: usize) -> tokenizers::Result<()> {
    let mut trainer = BpeTrainer::builder()
        .vocab_size(size)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    // One thread is enough for a small corpus and leaves the other cores alone. The switch is
    // global, hence put back.
    let parallel = get_parallelism();
    set_parallelism(false);
    let trained = tokenizer.train(&mut trainer, texts.iter()).map(|_| ());
    set_parallelism(parallel);
    trained
}

#[cfg(test)]
mod tests {
    use super::{SPECIAL_TOKENS, train_tokenizer};
    use tokenizers::Tokenizer;

    const SIZE: usize = 300;

    fn texts() -> Vec<String> {
        let apples = (2..20).map(|n| format!("Tom has {n} apples, so the answer is {n}."));
        let pommes = (2..20).map(|n| format!("Tom a {n} pommes, donc la réponse est {n}."));
        apples.chain(pommes).collect()
    }

    fn tokenizer() -> Tokenizer {
        let bytes = train_tokenizer(&texts(), SIZE).expect("enough text");
        Tokenizer::from_bytes(bytes).expect("a valid tokenizer.json")
    }

    #[test]
    fn the_same_texts_give_the_same_bytes() {
        let first = train_tokenizer(&texts(), SIZE).expect("enough text");
        assert!((0..5).all(|_| train_tokenizer(&texts(), SIZE).expect("enough text") == first));
    }

    #[test]
    fn special_tokens_end_the_vocabulary() {
        let tokenizer = tokenizer();
        assert_eq!(tokenizer.get_vocab_size(true), SIZE);
        for (place, token) in SPECIAL_TOKENS.iter().enumerate() {
            let id = (SIZE - SPECIAL_TOKENS.len() + place) as u32;
            assert_eq!(tokenizer.token_to_id(token), Some(id));
            let encoding = tokenizer
                .encode(format!("a{token}b"), false)
                .expect("encodes");
            assert_eq!(encoding.get_ids()[1], id);
        }
    }

    #[test]
    fn any_text_comes_back() {
        let tokenizer = tokenizer();
        for text in [
            "Tom has 12 apples.",
            "¿Qué día? Größe, è così\n\n「猫」 1234",
            " two  spaces ",
        ] {
            let encoding = tokenizer.encode(text, false).expect("encodes");
            assert_eq!(
                tokenizer.decode(encoding.get_ids(), true).expect("decodes"),
                text
            );
        }
    }

    #[test]
    fn too_small_a_vocabulary_or_too_little_text_is_refused() {
        assert!(train_tokenizer(&texts(), 200).is_err());
        assert!(train_tokenizer(&texts(), 5000).is_err());
    }
}
