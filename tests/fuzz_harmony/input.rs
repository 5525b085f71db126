/// Choices that bytes make; behind their end all choices are the first.
pub struct Input<'a> {
    bytes: &'a [u8],
}

/// Words that texts are made of: markers as text, letters of several bytes, what JSON escapes.
const WORDS: [&str; 16] = [
    "a",
    " ",
    "\n",
    "two words",
    "<|end|>",
    "<|start|>assistant",
    "<|channel|>",
    "<|message|>",
    "漢字",
    "😀",
    "{\"a\": 1}",
    "\\",
    "\"",
    "to=functions.f",
    "analysis",
    "0",
];

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }

    pub fn maybe(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn text(&mut self) -> String {
        (0..self.below(5)).map(|_| self.pick(&WORDS)).collect()
    }
}
