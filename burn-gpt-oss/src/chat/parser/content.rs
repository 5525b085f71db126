/// The text of a content, from the bytes of its tokens.
#[derive(Debug, Default)]
pub(super) struct ContentText {
    text: String,
    /// Bytes that are no whole character yet.
    pending: Vec<u8>,
    /// Whether an id without a text was met: the library waits for a text from then on.
    unknown: bool,
}

impl ContentText {
    /// Adds the bytes of a token, `None` for an id without a text; returns the text that they complete.
    pub(super) fn push(&mut self, bytes: Option<Vec<u8>>) -> Option<String> {
        self.unknown |= bytes.is_none();
        let bytes = bytes.filter(|_| !self.unknown)?;
        self.pending.extend(bytes);
        let mut delta = String::new();
        // The library replaces one broken character for each token; the rest waits for the next.
        let chunk = self.pending.utf8_chunks().next()?;
        let is_whole = chunk.valid().len() == self.pending.len();
        delta.push_str(chunk.valid());
        let mut taken = chunk.valid().len();
        if !is_whole
            && let Err(error) = std::str::from_utf8(&self.pending)
            && let Some(broken) = error.error_len()
        {
            delta.push(char::REPLACEMENT_CHARACTER);
            taken += broken;
        }
        self.pending.drain(..taken);
        self.text.push_str(&delta);
        (!delta.is_empty()).then_some(delta)
    }

    pub(super) fn so_far(&self) -> &str {
        &self.text
    }

    pub(super) fn finish(self) -> String {
        let unknown = if self.unknown { "\u{fffd}" } else { "" };
        self.text + unknown + &String::from_utf8_lossy(&self.pending)
    }
}
