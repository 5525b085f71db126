/// Where an example lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tokens: u64,
    pub(super) record: u64,
    /// Of the tokens, to find copies.
    pub(super) hash: u64,
    pub(super) n_tokens: u32,
    pub(super) record_len: u32,
    /// From 1; 0 is none.
    pub(super) line: u32,
}

impl Entry {
    pub(super) const BYTES: usize = 36;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (at, value) in [self.tokens, self.record, self.hash]
            .into_iter()
            .enumerate()
        {
            bytes[8 * at..8 * at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in [self.n_tokens, self.record_len, self.line]
            .into_iter()
            .enumerate()
        {
            bytes[24 + 4 * at..28 + 4 * at].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[8 * at + i]));
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[24 + 4 * at + i]));
        Self {
            tokens: long(0),
            record: long(1),
            hash: long(2),
            n_tokens: short(0),
            record_len: short(1),
            line: short(2),
        }
    }
}
