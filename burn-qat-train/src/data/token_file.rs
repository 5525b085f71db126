use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn_gpt_oss::OutputDirectory;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{ChatRecord, DataNotes, TokenizedExample};
use crate::error::QatError;
use crate::fnv::Fnv;

const EXAMPLES: &str = "examples.bin";
const RECORDS: &str = "records.jsonl";
const INDEX: &str = "index.bin";
const MANIFEST: &str = "manifest.json";

/// Conversations as tokens in a directory, fetched one by one: only where each lies is in memory.
///
/// `examples.bin` has the tokens of each example, four bytes each, then its mask, a byte each; `records.jsonl` the
/// conversations; `index.bin` an [`Entry`] for each. All numbers begin with their lowest byte.
#[derive(Clone, Debug)]
pub struct TokenFile {
    entries: Arc<Vec<Entry>>,
    examples: Arc<Mutex<File>>,
    records: Arc<Mutex<File>>,
    manifest: Arc<Manifest>,
    dir: Arc<str>,
    /// Removed with the last of the copies.
    _temporary: Option<Arc<TempDir>>,
}

/// What a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// What it was made of, and how.
    pub(super) key: String,
    pub(super) n_examples: usize,
    /// Of all tokens.
    pub(super) largest: u32,
    pub(super) notes: DataNotes,
    /// Lengths of the files.
    pub(super) bytes: [u64; 3],
}

/// Where an example lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    tokens: u64,
    record: u64,
    /// Of the tokens, to find copies.
    hash: u64,
    n_tokens: u32,
    record_len: u32,
    /// From 1; 0 is none.
    line: u32,
}

impl Entry {
    const BYTES: usize = 36;

    fn to_bytes(self) -> [u8; Self::BYTES] {
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

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
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

impl TokenFile {
    /// Opens a directory; none if it is not complete, or was made of something else than `key` says.
    pub(super) fn open(dir: &Path, key: &str) -> Result<Option<Self>, QatError> {
        let Ok(manifest) = std::fs::read(dir.join(MANIFEST)) else {
            return Ok(None);
        };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&manifest) else {
            return Ok(None);
        };
        let [examples, records, index] = [EXAMPLES, RECORDS, INDEX].map(|name| dir.join(name));
        let lengths = [&examples, &records, &index].map(|path| {
            let length = std::fs::metadata(path).map(|file| file.len());
            length.unwrap_or(u64::MAX)
        });
        if manifest.key != key || manifest.bytes != lengths {
            return Ok(None);
        }
        let bytes = std::fs::read(&index).map_err(QatError::io(&index, "read"))?;
        let (entries, _) = bytes.as_chunks::<{ Entry::BYTES }>();
        let entries: Vec<Entry> = entries.iter().map(Entry::from_bytes).collect();
        if entries.len() != manifest.n_examples {
            return Ok(None);
        }
        let open = |path: &Path| File::open(path).map_err(QatError::io(path, "open"));
        Ok(Some(Self {
            entries: Arc::new(entries),
            examples: Arc::new(Mutex::new(open(&examples)?)),
            records: Arc::new(Mutex::new(open(&records)?)),
            manifest: Arc::new(manifest),
            dir: dir.to_string_lossy().into(),
            _temporary: None,
        }))
    }

    /// The same, in a directory that goes with it.
    pub(super) fn in_temporary(self, dir: TempDir) -> Self {
        Self {
            _temporary: Some(Arc::new(dir)),
            ..self
        }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was told while the dataset was read.
    pub fn notes(&self) -> &DataNotes {
        &self.manifest.notes
    }

    /// The largest token id.
    pub fn largest_token(&self) -> u32 {
        self.manifest.largest
    }

    /// What tells this dataset, as it is rendered, apart from others.
    pub fn fingerprint(&self) -> &str {
        &self.manifest.key
    }

    /// Tokens of an example.
    ///
    /// # Panics
    /// If there is no such number; so do the functions below.
    pub fn n_tokens(&self, index: usize) -> usize {
        self.entries[index].n_tokens as usize
    }

    /// A number that examples with the same tokens have.
    pub fn content_hash(&self, index: usize) -> u64 {
        self.entries[index].hash
    }

    /// Line of the file that an example is from.
    pub fn line(&self, index: usize) -> Option<usize> {
        let line = self.entries[index].line;
        (line > 0).then_some(line as usize)
    }

    /// An example.
    ///
    /// # Errors
    /// A file that cannot be read, or has changed.
    pub fn example(&self, index: usize) -> Result<TokenizedExample, QatError> {
        let entry = self.entries[index];
        let n = entry.n_tokens as usize;
        let bytes = self.read(&self.examples, EXAMPLES, entry.tokens, 5 * n)?;
        let (tokens, mask) = bytes.split_at(4 * n);
        let (tokens, _) = tokens.as_chunks::<4>();
        Ok(TokenizedExample {
            tokens: tokens
                .iter()
                .map(|token| u32::from_le_bytes(*token))
                .collect(),
            loss_mask: mask.iter().map(|flag| *flag != 0).collect(),
            starts: Vec::new(),
        })
    }

    /// The conversation that an example was made of.
    ///
    /// # Errors
    /// A file that cannot be read, or has changed.
    pub fn record(&self, index: usize) -> Result<ChatRecord, QatError> {
        let entry = self.entries[index];
        let bytes = self.read(
            &self.records,
            RECORDS,
            entry.record,
            entry.record_len as usize,
        )?;
        serde_json::from_slice(&bytes).map_err(|error| self.damaged(RECORDS, &error.to_string()))
    }

    fn read(
        &self,
        file: &Mutex<File>,
        name: &str,
        at: u64,
        len: usize,
    ) -> Result<Vec<u8>, QatError> {
        let mut bytes = vec![0; len];
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file
            .seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|error| self.damaged(name, &error.to_string()))?;
        Ok(bytes)
    }

    fn damaged(&self, name: &str, reason: &str) -> QatError {
        QatError::Dataset {
            path: Path::new(&*self.dir).join(name),
            message: format!(
                "the tokens of a dataset cannot be read back ({reason}); remove the directory"
            ),
        }
    }
}

/// A conversation as it is written.
pub(super) struct Encoded {
    example: Vec<u8>,
    record: Vec<u8>,
    entry: Entry,
    largest: u32,
}

impl Encoded {
    pub(super) fn new(record: &ChatRecord, example: &TokenizedExample) -> Result<Self, QatError> {
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
pub(super) struct TokenFileWriter {
    dir: OutputDirectory,
    examples: BufWriter<File>,
    records: BufWriter<File>,
    index: BufWriter<File>,
    at: [u64; 2],
    n_examples: usize,
    largest: u32,
}

impl TokenFileWriter {
    pub(super) fn create(target: &Path) -> Result<Self, QatError> {
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

    pub(super) fn push(&mut self, encoded: &Encoded) -> Result<(), QatError> {
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

    pub(super) fn finish(mut self, key: String, notes: DataNotes) -> Result<(), QatError> {
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

#[cfg(test)]
mod tests {
    use burn_gpt_oss::Message;

    use super::*;

    #[test]
    fn what_was_written_is_read_and_other_keys_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("tokens");
        let example = |n: usize| TokenizedExample {
            tokens: (0..n as u32).map(|i| i * 70_000).collect(),
            loss_mask: (0..n).map(|i| i % 2 == 1).collect(),
            starts: Vec::new(),
        };
        let record = |line| ChatRecord {
            messages: vec![
                Message::user("größe"),
                Message::assistant("b").with_thinking("c"),
            ],
            line,
            ..ChatRecord::default()
        };
        let mut writer = TokenFileWriter::create(&target).unwrap();
        for (n, line) in [(3, Some(1)), (0, None), (5, Some(7)), (3, Some(9))] {
            writer
                .push(&Encoded::new(&record(line), &example(n)).unwrap())
                .unwrap();
        }
        writer.finish("key".into(), DataNotes::default()).unwrap();
        assert!(TokenFile::open(&target, "other").unwrap().is_none());
        let file = TokenFile::open(&target, "key").unwrap().unwrap();
        assert_eq!((file.len(), file.n_tokens(2), file.line(1)), (4, 5, None));
        assert_eq!(file.example(2).unwrap(), example(5));
        assert_eq!(file.record(2).unwrap(), record(Some(7)));
        assert_eq!(file.content_hash(0), file.content_hash(3));
        assert_ne!(file.content_hash(0), file.content_hash(2));

        let records = target.join(RECORDS);
        let text = std::fs::read(&records).unwrap();
        std::fs::write(&records, &text[1..]).unwrap();
        assert!(TokenFile::open(&target, "key").unwrap().is_none(), "cut");
    }
}
