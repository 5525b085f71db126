mod hashes;

use std::fs::File;
use std::path::{Path, PathBuf};

use burn_gpt_oss::Tokenizer;
use rayon::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};

use hashes::{Hashes, hex};

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
            let mut known = Hashes::default();
            let key = key(source, &mut known)?;
            build(source, &target, (&key, &mut known), observe)?;
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
        build(source, &target, (&key, &mut known), observe)?;
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

/// Reads, tokenizes and writes some thousand conversations at a time. Nothing is kept of files that changed meanwhile.
fn build(
    source: DataSource<'_>,
    target: &Path,
    (key, known): (&str, &mut Hashes),
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
    known.check_unchanged(source.path)?;
    writer.finish(key.to_owned(), notes)
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
