use crate::tokenizer::Piece;
use crate::tokenizer::Tokenizer;

/// Text from tokens one by one: what a terminal shows while a model generates.
///
/// The pieces together are [`Tokenizer::decode`] of all tokens. A character whose bytes are spread
/// over several tokens appears with the last of them.
///
/// ```no_run
/// # use burn_gpt_oss::{GptOssError, TextStream, Tokenizer};
/// # fn main() -> Result<(), GptOssError> {
/// let tokenizer = Tokenizer::from_file("tokenizer.json")?;
/// let mut stream = TextStream::new(&tokenizer);
/// for token in tokenizer.encode_ordinary("Grüße 😀")? {
///     print!("{}", stream.push(token));
/// }
/// println!("{}", stream.finish());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The first bytes of a character, at most three.
    pending: Vec<u8>,
}

impl<'a> TextStream<'a> {
    /// A stream at the beginning of a text.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            pending: Vec::new(),
        }
    }

    /// The text that `token` completes, empty while a character lacks bytes.
    pub fn push(&mut self, token: u32) -> String {
        match self.tokenizer.piece(token) {
            Piece::Bytes(bytes) => {
                self.pending.extend(bytes);
                take_complete(&mut self.pending)
            }
            Piece::Added(spelling) => self.finish() + &spelling,
            Piece::Unknown => self.finish() + "\u{fffd}",
        }
    }

    /// Ends the text: U+FFFD if a character has begun, else nothing. The stream can start another
    /// text.
    pub fn finish(&mut self) -> String {
        let broken = !std::mem::take(&mut self.pending).is_empty();
        let end = if broken { "\u{fffd}" } else { "" };
        end.to_owned()
    }
}

/// Takes whole characters out of `pending`, with U+FFFD for what can never become one, as
/// [`String::from_utf8_lossy`] does, and leaves the beginning of a character.
fn take_complete(pending: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut taken = 0;
    for chunk in pending.utf8_chunks() {
        text.push_str(chunk.valid());
        taken += chunk.valid().len();
        if is_beginning(&pending[taken..]) {
            break;
        }
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        taken += chunk.invalid().len();
    }
    pending.drain(..taken);
    text
}

/// Whether further bytes could make a character of these, which begin with none.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::tokenizer::small::small_tokenizer;

    fn streamed(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<String> {
        let mut stream = TextStream::new(tokenizer);
        let mut texts: Vec<String> = tokens.iter().map(|token| stream.push(*token)).collect();
        texts.push(stream.finish());
        texts
    }

    #[test]
    fn characters_appear_whole() {
        let tokenizer = small_tokenizer();
        let tokens = tokenizer.encode_ordinary("aß😀漢e\u{301}").unwrap();
        let expected = [
            "a", "", "ß", "", "", "", "😀", "", "", "漢", "e", "", "\u{301}", "",
        ];
        assert_eq!(streamed(&tokenizer, &tokens), expected);
    }

    #[test]
    fn a_broken_character_is_replaced_once_it_cannot_be_completed() {
        let tokenizer = small_tokenizer();
        let smile = tokenizer.encode_ordinary("😀").unwrap();
        let a = tokenizer.encode_ordinary("a").unwrap()[0];
        let expected = ["", "", "\u{fffd}a", ""];
        assert_eq!(streamed(&tokenizer, &[smile[0], smile[1], a]), expected);
        let expected = ["", "\u{fffd}<|end|>", "\u{fffd}", "", "\u{fffd}"];
        let tokens = [smile[0], 261, smile[1], smile[0]];
        assert_eq!(streamed(&tokenizer, &tokens), expected);
        assert_eq!(
            streamed(&tokenizer, &[smile[0], 9999])[1],
            "\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn the_pieces_make_up_the_decoded_text() {
        let tokenizer = small_tokenizer();
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let characters = ["a", "en", "ß", "漢", "😀", "e\u{301}", "\u{fffd}", "👩‍👩‍👧"];
        for _ in 0..20_000 {
            let mut tokens = Vec::new();
            for _ in 0..random.random_range(0..6) {
                let character = characters[random.random_range(0..characters.len())];
                let mut bytes = tokenizer.encode_ordinary(character).unwrap();
                match random.random_range(0..6) {
                    0 => bytes.truncate(random.random_range(0..bytes.len())),
                    1 => bytes.insert(random.random_range(0..=bytes.len()), 261),
                    2 => tokens.push(random.random_range(0..266)),
                    _ => {}
                }
                tokens.extend(bytes);
            }
            let text = streamed(&tokenizer, &tokens).concat();
            assert_eq!(text, tokenizer.decode(&tokens), "{tokens:?}");
        }
    }

    #[test]
    fn any_bytes_are_replaced_as_in_a_whole_text() {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        // Bytes next to the limits of valid sequences.
        let bytes = [
            0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xe1, 0xed,
            0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff,
        ];
        for _ in 0..100_000 {
            let len = random.random_range(0..9);
            let all: Vec<u8> = (0..len)
                .map(|_| bytes[random.random_range(0..bytes.len())])
                .collect();
            let (mut pending, mut text) = (Vec::new(), String::new());
            for part in all.chunks(random.random_range(1..4)) {
                pending.extend_from_slice(part);
                text += &take_complete(&mut pending);
                assert!(pending.len() < 4);
            }
            if !pending.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
            assert_eq!(text, String::from_utf8_lossy(&all), "{all:x?}");
        }
    }
}
