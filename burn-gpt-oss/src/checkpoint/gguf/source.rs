//! A file that is read from the front.

use std::fs::File;
use std::io::{BufReader, Read};

/// Bytes of a text.
const MAX_TEXT: usize = 16 << 20;

/// A file that is read from the front, with what is left of it.
pub(super) struct Source {
    file: Box<dyn Read>,
    pub position: u64,
    pub len: u64,
}

impl Source {
    /// A file of this length, at its beginning.
    pub fn new(file: File, len: u64) -> Self {
        Self {
            file: Box::new(BufReader::new(file)),
            position: 0,
            len,
        }
    }

    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        let position = self.position;
        self.position += bytes.len() as u64;
        let read = self.file.read_exact(bytes);
        read.map_err(|error| {
            format!(
                "reading {} bytes at {position} failed: {error}",
                bytes.len()
            )
        })
    }

    /// A number of things that take `size` bytes each at least: more than fit are not believed.
    pub fn count(&mut self, what: &str, size: u64) -> Result<usize, String> {
        let count = u64::from_le_bytes(self.bytes()?);
        let left = self.len.saturating_sub(self.position);
        match count.checked_mul(size) {
            Some(bytes) if bytes <= left => Ok(count as usize),
            _ => Err(format!(
                "{count} {what} cannot be in the {left} bytes that are left of the file"
            )),
        }
    }

    pub fn string(&mut self) -> Result<String, String> {
        let len = self.count("bytes of a text", 1)?;
        if len > MAX_TEXT {
            return Err(format!(
                "{len} bytes of a text, more than the {MAX_TEXT} that are read"
            ));
        }
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| "a text is not UTF-8".into())
    }
}
