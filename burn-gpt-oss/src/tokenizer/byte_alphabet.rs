//! The alphabet in which byte-level BPE spells bytes: every byte is one printable character
//! (`bytes_to_unicode` of OpenAI's GPT-2, <https://github.com/openai/gpt-2/blob/master/src/encoder.py>).

/// The bytes that a token of the vocabulary file stands for. A token with a character outside the
/// alphabet stands for its own UTF-8, as in the decoder of the `tokenizers` crate.
pub(crate) fn spelled_bytes(token: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token.chars().map(byte).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

/// Bytes in the alphabet.
pub(crate) fn spelled(bytes: &[u8]) -> String {
    let symbol = |byte: &u8| {
        let byte = u32::from(*byte);
        let code = match byte {
            0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte,
            0..=0x20 => 0x100 + byte,
            0x7f..=0xa0 => 0x121 + byte - 0x7f,
            _ => 0x143,
        };
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    bytes.iter().map(symbol).collect()
}

/// The byte that a character of the alphabet stands for.
fn byte(symbol: char) -> Option<u8> {
    match symbol {
        '!'..='~' | '¡'..='¬' | '®'..='ÿ' => u8::try_from(symbol).ok(),
        // The bytes that print nothing have the characters from 256 on, in their order.
        '\u{100}'..='\u{120}' => Some((u32::from(symbol) - 0x100) as u8),
        '\u{121}'..='\u{142}' => Some((u32::from(symbol) - 0x121) as u8 + 0x7f),
        '\u{143}' => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut bytes: Vec<u8> = ('\0'..='\u{200}').filter_map(byte).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(spelled_bytes(&spelled(&bytes)), bytes);
    }

    #[test]
    fn characters_of_the_published_table() {
        assert_eq!(spelled_bytes("Ġhi"), b" hi");
        assert_eq!(spelled_bytes("Ċĉ"), b"\n\t");
        assert_eq!(spelled_bytes("Ã¤"), "ä".as_bytes());
        assert_eq!(spelled_bytes("ġĢłŃ"), [0x7f, 0x80, 0xa0, 0xad]);
    }

    #[test]
    fn other_characters_stand_for_themselves() {
        assert_eq!(spelled_bytes("漢Ġ"), "漢Ġ".as_bytes());
    }
}
