//! Where a conversion writes: a directory that survives an interruption and says which files are complete.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::checkpoint::OutputDirectory;
use crate::checkpoint::directory::{parent_of, put_in_place, sync};
use crate::error::GptOssError;
use crate::json_file::{parse, read_text};

/// Which files are complete, and of which conversion.
const STATE: &str = "progress.json";
/// SHA-256 of every file, as `sha256sum --check` reads them.
const MANIFEST: &str = "SHA256SUMS";

/// A complete file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertedFile {
    /// Its name in the directory.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
}

impl ConvertedFile {
    fn of(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(bytes)),
        }
    }
}

/// Hexadecimal digits.
pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    identity: Value,
    files: BTreeMap<String, ConvertedFile>,
    /// What the encoder had counted when the last of them was complete.
    totals: Totals,
}

/// What a conversion counts, over all of its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    /// Blocks that were cast to NVFP4, those that are exact, and those that changed.
    pub cast: Option<[usize; 3]>,
    /// Tensors that were rounded to BF16.
    pub rounded: Vec<String>,
}

pub(super) struct WorkDirectory {
    target: PathBuf,
    dir: PathBuf,
    overwrite: bool,
    state: State,
    /// Held until the directory has its name.
    _lock: File,
}

impl WorkDirectory {
    /// Opens the directory of an interrupted conversion with this identity, or a new one in place of another.
    pub fn open(target: &Path, identity: Value, overwrite: bool) -> Result<Self, GptOssError> {
        let Some(name) = target.file_name().map(|name| name.to_string_lossy()) else {
            return Err(GptOssError::Setting {
                key: "output directory".into(),
                expected: "a directory with a name of its own".into(),
                found: target.display().to_string(),
            });
        };
        OutputDirectory::check(target, overwrite)?;
        holds_files_alone(target)?;
        let dir = parent_of(target).join(format!(".{name}.converting"));
        // A link would lead somewhere else.
        if dir.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(GptOssError::OutputNotADirectory { path: dir });
        }
        std::fs::create_dir_all(&dir).map_err(GptOssError::io(&dir, "create directory"))?;
        let lock = lock(&dir, &name)?;
        let known = read_state(&dir);
        if known.is_none() && !is_empty(&dir)? {
            return Err(GptOssError::OutputExists { path: dir });
        }
        let state = match known.filter(|state| state.identity == identity) {
            Some(state) => state,
            None => {
                clear(&dir)?;
                State {
                    identity,
                    ..State::default()
                }
            }
        };
        let work = Self {
            target: target.to_path_buf(),
            dir,
            overwrite,
            state,
            _lock: lock,
        };
        work.write_state()?;
        Ok(work)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A file that is complete already.
    pub fn complete(&self, name: &str) -> Option<&ConvertedFile> {
        let file = self.state.files.get(name)?;
        let metadata = std::fs::metadata(self.path(name)).ok()?;
        (metadata.len() == file.bytes).then_some(file)
    }

    /// All complete files.
    pub fn files(&self) -> Vec<ConvertedFile> {
        self.state.files.values().cloned().collect()
    }

    /// What was counted when the last complete file was.
    pub fn totals(&self) -> Totals {
        self.state.totals.clone()
    }

    /// Remembers a file, once it is on the disk.
    pub fn finish(&mut self, file: ConvertedFile, totals: Totals) -> Result<(), GptOssError> {
        sync(&self.path(&file.name))?;
        self.state.totals = totals;
        self.state.files.insert(file.name.clone(), file);
        self.write_state()
    }

    /// Hashes the small files that stand beside those of weights.
    pub fn hash_rest(&mut self) -> Result<(), GptOssError> {
        for entry in std::fs::read_dir(&self.dir).map_err(GptOssError::io(&self.dir, "list"))? {
            let path = entry.map_err(GptOssError::io(&self.dir, "list"))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name != STATE && !self.state.files.contains_key(name.as_ref()) {
                let bytes = std::fs::read(&path).map_err(GptOssError::io(&path, "read"))?;
                let file = ConvertedFile::of(&name, &bytes);
                self.state.files.insert(name.into_owned(), file);
            }
        }
        Ok(())
    }

    /// Gives the directory its name.
    pub fn commit(self) -> Result<(), GptOssError> {
        let files = self.state.files.values();
        let lines = files.map(|file| format!("{}  {}\n", file.sha256, file.name));
        let manifest = self.path(MANIFEST);
        std::fs::write(&manifest, lines.collect::<String>())
            .map_err(GptOssError::io(&manifest, "write"))?;
        put_in_place(&self.dir, &self.target, self.overwrite)?;
        // Until here another run could go on from it.
        let _ = std::fs::remove_file(self.target.join(STATE));
        let _ = std::fs::remove_file(lock_path(&self.dir));
        Ok(())
    }

    fn write_state(&self) -> Result<(), GptOssError> {
        let (path, temp) = (self.path(STATE), self.path(".progress.json"));
        let text = serde_json::to_vec(&self.state).map_err(|error| GptOssError::Json {
            path: path.clone(),
            key: ".".into(),
            message: error.to_string(),
        })?;
        std::fs::write(&temp, text).map_err(GptOssError::io(&temp, "write"))?;
        sync(&temp)?;
        std::fs::rename(&temp, &path).map_err(GptOssError::io(&path, "rename"))?;
        sync(&self.dir)
    }
}

fn read_state(dir: &Path) -> Option<State> {
    let path = dir.join(STATE);
    let text = read_text(&path).ok()?;
    parse(&text, &path).ok()
}

/// Beside the directory: what is in it is moved with it.
fn lock_path(dir: &Path) -> PathBuf {
    dir.with_extension("lock")
}

fn lock(dir: &Path, name: &str) -> Result<File, GptOssError> {
    let path = lock_path(dir);
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(GptOssError::OutputExists { path });
    }
    let mut options = File::options();
    let file = options.create(true).write(true).truncate(false).open(&path);
    let file = file.map_err(GptOssError::io(&path, "create"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(GptOssError::Unsupported {
            what: format!("a second conversion into `{name}` while another one runs"),
            hint: "wait for it, or choose another directory".into(),
        }),
        Err(TryLockError::Error(error)) => Err(GptOssError::io(&path, "lock")(error)),
    }
}

/// Fails at a directory in a directory that would be replaced: no conversion has written it.
fn holds_files_alone(target: &Path) -> Result<(), GptOssError> {
    let entries = std::fs::read_dir(target).into_iter().flatten().flatten();
    let mut inner = entries.filter(|entry| entry.path().is_dir());
    match inner.next() {
        None => Ok(()),
        Some(inner) => Err(GptOssError::OutputHoldsDirectory {
            path: target.to_path_buf(),
            inner: inner.file_name().to_string_lossy().into_owned(),
        }),
    }
}

fn is_empty(dir: &Path) -> Result<bool, GptOssError> {
    let mut entries = std::fs::read_dir(dir).map_err(GptOssError::io(dir, "list"))?;
    Ok(entries.next().is_none())
}

fn clear(dir: &Path) -> Result<(), GptOssError> {
    for entry in std::fs::read_dir(dir).map_err(GptOssError::io(dir, "list"))? {
        let path = entry.map_err(GptOssError::io(dir, "list"))?.path();
        std::fs::remove_file(&path).map_err(GptOssError::io(&path, "remove"))?;
    }
    Ok(())
}
