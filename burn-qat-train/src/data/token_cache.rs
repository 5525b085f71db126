use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use burn_gpt_oss::Tokenizer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::token_file::{Encoded, TokenFileWriter};
use super::{ChatFormat, ReadOptions, TokenFile, Tokenized, dataset_files, read_chunks};
use crate::error::QatError;

/// What becomes tokens, and how.
#[derive(Clone, Copy, Debug)]
pub struct DataSource<'a> {
    /// A file, a directory, or a pattern of files.
    pub path: &'a Path,
    /// How rows are read.
    pub reading: &'a ReadOptions,
    /// How conversations become tokens.
    pub format: &'a ChatFormat,
    /// What makes tokens.
    pub tokenizer: &'a Tokenizer,
}

/// A directory in which datasets are kept as tokens, so that they are read and tokenized once.
///
/// A dataset is known by the contents of its files, the tokenizer, the format and the version of this crate. The hash of a
/// file is computed again unless its length, time of change and inode are those it had.
#[derive(Clone, Debug)]
pub struct TokenCache {
    /// None keeps nothing.
    dir: Option<PathBuf>,
}

/// Changes with everything that changes tokens or files.
const VERSION: u32 = 1;

const HASHES: &str = "files.json";

impl TokenCache {
    /// A cache in a directory, which is made where it is missing.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: Some(dir.into()),
        }
    }

    /// The user's cache directory, `burn-qat` in it; none where the system does not say which that is.
    pub fn of_user() -> Option<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dir = variable("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")))
            .or_else(|| variable("LOCALAPPDATA").map(PathBuf::from))?;
        Some(Self::new(dir.join("burn-qat")))
    }

    /// Nothing is kept: tokens lie in a temporary directory.
    pub const fn temporary() -> Self {
        Self { dir: None }
    }

    /// The tokens of a dataset, from the cache if it has them. `observe` hears how many conversations are read.
    ///
    /// # Errors
    /// Those of [`read_chunks`] and [`ChatFormat::tokenize_all`], and of the files of the cache.
    pub fn tokens(
        &self,
        source: DataSource<'_>,
        observe: impl FnMut(usize),
    ) -> Result<TokenFile, QatError> {
        let Some(dir) = &self.dir else {
            let dir = tempfile::tempdir().map_err(QatError::io(std::env::temp_dir(), "create"))?;
            let target = dir.path().join("tokens");
            let key = key(source, &mut Hashes::default())?;
            build(source, &target, key.clone(), observe)?;
            return Ok(reopened(&target, &key)?.in_temporary(dir));
        };
        std::fs::create_dir_all(dir).map_err(QatError::io(dir, "create"))?;
        let hashes = dir.join(HASHES);
        let mut known = Hashes::read(&hashes);
        let key = key(source, &mut known)?;
        known.write(&hashes);
        let target = dir.join(&key[..32]);
        // Whoever comes second finds what the first has written.
        let lock = target.with_extension("lock");
        let lock = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _lock = lock.map_err(QatError::io(dir, "lock a file in"))?;
        if let Some(known) = TokenFile::open(&target, &key)? {
            return Ok(known);
        }
        build(source, &target, key.clone(), observe)?;
        known.check_unchanged(source.path)?;
        reopened(&target, &key)
    }
}

fn reopened(target: &Path, key: &str) -> Result<TokenFile, QatError> {
    TokenFile::open(target, key)?.ok_or_else(|| QatError::Dataset {
        path: target.to_owned(),
        message: "the tokens that were just written are not there; does something else write here?"
            .into(),
    })
}

/// Reads, tokenizes and writes some thousand conversations at a time.
fn build(
    source: DataSource<'_>,
    target: &Path,
    key: String,
    mut observe: impl FnMut(usize),
) -> Result<(), QatError> {
    let mut writer = TokenFileWriter::create(target)?;
    let (mut all, mut n_records) = (Tokenized::default(), 0);
    let mut some = false;
    let mut notes = read_chunks(source.path, source.reading, |records| {
        let chunk = source.format.tokenize_chunk(&records, source.tokenizer)?;
        let pairs: Vec<_> = chunk.indices.iter().zip(&chunk.examples).collect();
        let encoded: Vec<Encoded> = pairs
            .into_par_iter()
            .map(|(index, example)| Encoded::new(&records[*index], example))
            .collect::<Result<_, _>>()?;
        encoded
            .iter()
            .try_for_each(|encoded| writer.push(encoded))?;
        some |= !encoded.is_empty();
        all.n_trainable += chunk.n_trainable;
        all.notes.extend(chunk.notes);
        n_records += records.len();
        observe(n_records);
        Ok(())
    })?;
    if !some {
        source.format.check_not_empty(&all, n_records)?;
    }
    notes.extend(all.notes);
    writer.finish(key, notes)
}

/// A text that only the same contents, read the same way, have.
fn key(source: DataSource<'_>, known: &mut Hashes) -> Result<String, QatError> {
    let files = dataset_files(source.path)?;
    let mut contents = Vec::new();
    for file in &files {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        contents.push((name, known.of(file)?));
    }
    let parts = json!({
        "version": [VERSION.to_string().as_str(), env!("CARGO_PKG_VERSION")],
        "files": contents,
        "tokenizer": source.tokenizer.content_hash(),
        "reading": source.reading,
        "format": source.format,
    });
    Ok(hex(Sha256::digest(parts.to_string())))
}

fn of_contents(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Hashes of files, by their paths.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Hashes(BTreeMap<String, Known>);

/// A hash, and what the file looked like.
#[derive(PartialEq, Serialize, Deserialize)]
struct Known {
    len: u64,
    changed: u128,
    status_changed: u64,
    inode: u64,
    sha256: String,
}

impl Known {
    fn looks_like(&self, other: &Self) -> bool {
        let numbers = |known: &Self| (known.len, known.changed, known.status_changed, known.inode);
        numbers(self) == numbers(other)
    }
}

/// A file by its place, whatever it was called by.
fn name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.to_string_lossy().into_owned()
}

impl Hashes {
    /// Those that are known; none if they cannot be read, since they can be computed.
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Keeps them if that is possible: without them the next start takes longer, and nothing else.
    fn write(&self, path: &Path) {
        let Some(dir) = path.parent() else { return };
        let Ok(file) = tempfile::NamedTempFile::new_in(dir) else {
            return;
        };
        if serde_json::to_writer(&file, self).is_ok() {
            let _ = file.persist(path);
        }
    }

    /// Refuses files that have changed since they were looked at: their tokens would be kept under the wrong name.
    fn check_unchanged(&mut self, data: &Path) -> Result<(), QatError> {
        for file in dataset_files(data)? {
            let before = self.0.get(&name(&file)).map(|known| known.sha256.clone());
            if before.as_deref() != Some(self.of(&file)?.as_str()) {
                return Err(QatError::Dataset {
                    path: file,
                    message: "the file was changed while it was read; start again".into(),
                });
            }
        }
        Ok(())
    }

    fn of(&mut self, path: &Path) -> Result<String, QatError> {
        let metadata = std::fs::metadata(path).map_err(QatError::io(path, "read"))?;
        let changed = metadata.modified().ok();
        let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let [inode, status_changed] = unix_numbers(&metadata);
        let now = Known {
            len: metadata.len(),
            changed: changed.map_or(0, |time| time.as_nanos()),
            status_changed,
            inode,
            sha256: String::new(),
        };
        let name = name(path);
        if let Some(known) = self.0.get(&name)
            && known.looks_like(&now)
        {
            return Ok(known.sha256.clone());
        }
        let sha256 = of_contents(path).map_err(QatError::io(path, "read"))?;
        let known = Known {
            sha256: sha256.clone(),
            ..now
        };
        self.0.insert(name, known);
        Ok(sha256)
    }
}

/// The number of a file and the time of its last change of any kind, in nanoseconds.
#[cfg(unix)]
fn unix_numbers(metadata: &std::fs::Metadata) -> [u64; 2] {
    use std::os::unix::fs::MetadataExt;
    let seconds = metadata.ctime().wrapping_mul(1_000_000_000);
    [
        metadata.ino(),
        seconds.wrapping_add(metadata.ctime_nsec()) as u64,
    ]
}

#[cfg(not(unix))]
fn unix_numbers(_: &std::fs::Metadata) -> [u64; 2] {
    [0; 2]
}
