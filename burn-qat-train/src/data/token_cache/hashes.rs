use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::dataset_files;
use crate::error::QatError;

/// Hashes of files, by their paths.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Hashes(BTreeMap<String, Known>);

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
    pub(super) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Keeps them if that is possible: without them the next start takes longer, and nothing else.
    pub(super) fn write(&self, path: &Path) {
        let Some(dir) = path.parent() else { return };
        let Ok(file) = tempfile::NamedTempFile::new_in(dir) else {
            return;
        };
        if serde_json::to_writer(&file, self).is_ok() {
            let _ = file.persist(path);
        }
    }

    /// Refuses files that have changed since they were looked at: their tokens would be kept under the wrong name.
    pub(super) fn check_unchanged(&mut self, data: &Path) -> Result<(), QatError> {
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

    pub(super) fn of(&mut self, path: &Path) -> Result<String, QatError> {
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

pub(super) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
