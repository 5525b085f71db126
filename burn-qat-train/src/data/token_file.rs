mod entry;
mod writer;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use entry::Entry;
pub(super) use writer::{Encoded, TokenFileWriter};

use super::{ChatRecord, DataNotes, TokenizedExample};
use crate::error::QatError;

const EXAMPLES: &str = "examples.bin";
const RECORDS: &str = "records.jsonl";
const INDEX: &str = "index.bin";
const MANIFEST: &str = "manifest.json";

/// Conversations as tokens in a directory, fetched one by one: only where each lies is in memory.
///
/// `examples.bin` has the tokens of each example, four bytes each, then its mask, a byte each; `records.jsonl` the
/// conversations; `index.bin` where each lies. All numbers begin with their lowest byte.
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
