use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn_gpt_oss::OutputDirectory;

use super::entry::Entry;
use super::{EXAMPLES, INDEX, MANIFEST, Manifest, RECORDS};
use crate::data::{ChatRecord, DataNotes, TokenizedExample};
use crate::error::QatError;
use crate::fnv::Fnv;

/// A conversation as it is written.
pub(in crate::data) struct Encoded {
    example: Vec<u8>,
    record: Vec<u8>,
    entry: Entry,
    largest: u32,
}

impl Encoded {
    pub(in crate::data) fn new(
        record: &ChatRecord,
        example: &TokenizedExample,
    ) -> Result<Self, QatError> {
        let tokens = example.tokens.iter().flat_map(|token| token.to_le_bytes());
        let mut bytes: Vec<u8> = tokens.collect();
        let mut hash = Fnv::default();
        hash.add(&bytes);
        bytes.extend(example.loss_mask.iter().map(|flag| u8::from(*flag)));
        let mut text = serde_json::to_vec(record).map_err(|error| QatError::Dataset {
            path: RECORDS.into(),
            message: error.to_string(),
        })?;
        let entry = Entry {
            hash: hash.value(),
            n_tokens: example.tokens.len() as u32,
            record_len: text.len() as u32,
            line: record.line.map_or(0, |line| line as u32),
            ..Entry::default()
        };
        text.push(b'\n');
        Ok(Self {
            example: bytes,
            record: text,
            entry,
            largest: example.tokens.iter().copied().max().unwrap_or(0),
        })
    }
}

/// Writes a directory that [`TokenFile`] opens; nothing is there before all of it is.
pub(in crate::data) struct TokenFileWriter {
    dir: OutputDirectory,
    examples: BufWriter<File>,
    records: BufWriter<File>,
    index: BufWriter<File>,
    at: [u64; 2],
    n_examples: usize,
    largest: u32,
}

impl TokenFileWriter {
    pub(in crate::data) fn create(target: &Path) -> Result<Self, QatError> {
        let dir = OutputDirectory::create(target, true)?;
        let create = |name: &str| -> Result<BufWriter<File>, QatError> {
            let path = dir.path().join(name);
            let file = File::create(&path).map_err(QatError::io(&path, "create"))?;
            Ok(BufWriter::with_capacity(1 << 20, file))
        };
        Ok(Self {
            examples: create(EXAMPLES)?,
            records: create(RECORDS)?,
            index: create(INDEX)?,
            dir,
            at: [0; 2],
            n_examples: 0,
            largest: 0,
        })
    }

    pub(in crate::data) fn push(&mut self, encoded: &Encoded) -> Result<(), QatError> {
        let entry = Entry {
            tokens: self.at[0],
            record: self.at[1],
            ..encoded.entry
        };
        let written = self
            .examples
            .write_all(&encoded.example)
            .and_then(|()| self.records.write_all(&encoded.record))
            .and_then(|()| self.index.write_all(&entry.to_bytes()));
        written.map_err(QatError::io(self.dir.path(), "write"))?;
        self.at[0] += encoded.example.len() as u64;
        self.at[1] += encoded.record.len() as u64;
        self.n_examples += 1;
        self.largest = self.largest.max(encoded.largest);
        Ok(())
    }

    pub(in crate::data) fn finish(mut self, key: String, notes: DataNotes) -> Result<(), QatError> {
        let files = [&mut self.examples, &mut self.records, &mut self.index];
        let flushed = files.into_iter().try_for_each(BufWriter::flush);
        flushed.map_err(QatError::io(self.dir.path(), "write"))?;
        let manifest = Manifest {
            key,
            n_examples: self.n_examples,
            largest: self.largest,
            notes,
            bytes: [
                self.at[0],
                self.at[1],
                (self.n_examples * Entry::BYTES) as u64,
            ],
        };
        let path = self.dir.path().join(MANIFEST);
        let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        std::fs::write(&path, text).map_err(QatError::io(&path, "write"))?;
        Ok(self.dir.commit()?)
    }
}
