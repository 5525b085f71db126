use crate::error::GptOssError;

/// Looks for stop strings in a text that arrives in pieces.
///
/// The string that is complete first ends the text; of several that end at the same place, the
/// longest. The text before it is shown, the string is not. The result does not depend on how the
/// text is cut into pieces.
#[derive(Clone, Debug)]
pub struct StopStrings {
    strings: Vec<String>,
    /// The end of the text so far that may be the beginning of a stop string.
    held: String,
    stopped: bool,
}

/// What a piece of text brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopPush {
    /// Text that no stop string can begin in any more.
    pub shown: String,
    /// Whether a stop string was found, now or earlier.
    pub stopped: bool,
}

impl StopStrings {
    /// A search at the beginning of a text.
    ///
    /// # Errors
    ///
    /// [`GptOssError::Setting`] if a string is empty.
    pub fn new(strings: &[String]) -> Result<Self, GptOssError> {
        if let Some(index) = strings.iter().position(String::is_empty) {
            return Err(GptOssError::Setting {
                key: format!("stop_strings[{index}]"),
                expected: "at least one character".to_owned(),
                found: "empty".to_owned(),
            });
        }
        Ok(Self {
            strings: strings.to_vec(),
            held: String::new(),
            stopped: false,
        })
    }

    /// Goes on with `text` and gives what can be shown. Nothing is shown after a stop string.
    pub fn push(&mut self, text: &str) -> StopPush {
        if !self.stopped {
            let searched = self.held.len();
            self.held.push_str(text);
            if let Some(start) = self.first_match(searched) {
                self.stopped = true;
                self.held.truncate(start);
            }
        }
        StopPush {
            shown: self.release(),
            stopped: self.stopped,
        }
    }

    /// Ends the text and gives what was held back, in which there is no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the first match begins, if it ends behind `searched` bytes of the held text.
    fn first_match(&self, searched: usize) -> Option<usize> {
        let new = self.held[searched..].char_indices();
        let mut ends = new.map(|(at, character)| searched + at + character.len_utf8());
        ends.find_map(|end| self.longest_match(end))
    }

    /// Where the longest match that ends at `end` begins.
    fn longest_match(&self, end: usize) -> Option<usize> {
        let text = &self.held[..end];
        let matching = self.strings.iter().filter(|stop| text.ends_with(*stop));
        matching.map(|stop| end - stop.len()).min()
    }

    /// Takes everything out of the held text that lies before the first possible beginning.
    fn release(&mut self) -> String {
        let start = if self.stopped {
            self.held.len()
        } else {
            self.first_beginning()
        };
        let rest = self.held.split_off(start);
        std::mem::replace(&mut self.held, rest)
    }

    fn first_beginning(&self) -> usize {
        let longest = self.strings.iter().map(String::len).max().unwrap_or(0);
        // A whole stop string would have been found, so only less than the longest can match.
        let first = (self.held.len() + 1).saturating_sub(longest);
        let mut starts = first..self.held.len();
        let is_beginning = |start: &usize| {
            let rest = self.held.get(*start..);
            rest.is_some_and(|rest| self.strings.iter().any(|stop| stop.starts_with(rest)))
        };
        starts.find(is_beginning).unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn stops(strings: &[&str]) -> StopStrings {
        let strings: Vec<String> = strings.iter().map(|text| (*text).to_owned()).collect();
        StopStrings::new(&strings).unwrap()
    }

    /// What is shown for each piece and at the end.
    fn shown(strings: &[&str], pieces: &[&str]) -> Vec<String> {
        let mut stops = stops(strings);
        let mut shown: Vec<String> = pieces.iter().map(|text| stops.push(text).shown).collect();
        shown.push(stops.finish());
        shown
    }

    #[test]
    fn a_possible_beginning_is_held_back() {
        assert_eq!(
            shown(&["END"], &["a E", "N", "x", "E"]),
            ["a ", "", "ENx", "", "E"]
        );
        assert_eq!(shown(&["END"], &["a E", "ND b", "c"]), ["a ", "", "", ""]);
        assert_eq!(shown(&[], &["a", "b"]), ["a", "b", ""]);
    }

    #[test]
    fn the_caller_learns_of_the_end() {
        let mut stops = stops(&["\n\n"]);
        assert!(!stops.push("a\n").stopped);
        let expected = StopPush {
            shown: String::new(),
            stopped: true,
        };
        assert_eq!(stops.push("\nb"), expected);
        assert_eq!(stops.push("c"), expected);
    }

    #[test]
    fn the_string_that_is_complete_first_wins() {
        assert_eq!(shown(&["abcd", "bc"], &["xabcd"]), ["xa", ""]);
        assert_eq!(shown(&["bc", "abc"], &["xabc"]), ["x", ""]);
        assert_eq!(shown(&["abab!"], &["abababab!"]), ["abab", ""]);
    }

    #[test]
    fn characters_of_several_bytes_stay_whole() {
        assert_eq!(shown(&["é😀"], &["éé", "é", "😀"]), ["é", "é", "", ""]);
        assert_eq!(shown(&["😀😀"], &["ü😀", "😁"]), ["ü", "😀😁", ""]);
        // The two share their first bytes.
        assert_eq!(shown(&["😀"], &["😁"]), ["😁", ""]);
    }

    #[test]
    fn empty_strings_are_refused() {
        let strings = ["a".to_owned(), String::new()];
        let error = StopStrings::new(&strings).unwrap_err().to_string();
        assert!(error.starts_with("`stop_strings[1]` is empty"), "{error}");
    }

    /// The text before the first match, by trying every place where a match could end.
    fn naive<'a>(strings: &[String], text: &'a str) -> (&'a str, bool) {
        for end in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            for start in (0..end).filter(|at| text.is_char_boundary(*at)) {
                if strings.iter().any(|stop| *stop == text[start..end]) {
                    return (&text[..start], true);
                }
            }
        }
        (text, false)
    }

    #[test]
    fn equals_a_search_in_the_whole_text() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut text = |max: usize| -> String {
            let alphabet = ['a', 'b', 'é', '😀'];
            let len = random.random_range(0..max);
            (0..len)
                .map(|_| alphabet[random.random_range(0..4)])
                .collect()
        };
        for _ in 0..20_000 {
            let strings: Vec<String> = (0..3).map(|_| text(5)).filter(|s| !s.is_empty()).collect();
            let pieces: Vec<String> = (0..6).map(|_| text(5)).collect();
            let mut stops = StopStrings::new(&strings).unwrap();
            let mut shown = String::new();
            for piece in &pieces {
                shown += &stops.push(piece).shown;
            }
            let stopped = stops.stopped;
            shown += &stops.finish();
            let whole = pieces.concat();
            assert_eq!(
                (shown.as_str(), stopped),
                naive(&strings, &whole),
                "{strings:?} {pieces:?}"
            );
        }
    }

    #[test]
    fn no_more_is_held_back_than_needed() {
        let mut stops = stops(&["aab"]);
        for (piece, held) in [("a", "a"), ("a", "aa"), ("a", "aa"), ("c", ""), ("ca", "a")] {
            stops.push(piece);
            assert_eq!(stops.held, held);
        }
    }
}
