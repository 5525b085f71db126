use std::path::{Path, PathBuf};

use burn::store::ModuleRecord;
use burn::train::checkpoint::{Checkpoint, Checkpointer, CheckpointerError};

/// Keeps model records as `model-<interval>.bpk`. A record is written to a temporary file, synced and
/// renamed, so that a full disk or a crash never leaves half of one.
pub(super) struct ModelCheckpointer {
    dir: PathBuf,
}

impl ModelCheckpointer {
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
        }
    }

    /// Where the record of an interval (from 1) lies.
    pub fn path(dir: &Path, interval: usize) -> PathBuf {
        dir.join(format!("model-{interval}.bpk"))
    }
}

impl Checkpointer<ModuleRecord> for ModelCheckpointer {
    fn save(&self, interval: usize, record: ModuleRecord) -> Result<(), CheckpointerError> {
        let path = Self::path(&self.dir, interval);
        let temporary = self.dir.join(format!("partial-{interval}.bpk"));
        let written = Checkpoint::save(record, temporary.clone())
            .and_then(|()| {
                let file = std::fs::File::open(&temporary).map_err(CheckpointerError::IOError)?;
                file.sync_all().map_err(CheckpointerError::IOError)
            })
            .and_then(|()| std::fs::rename(&temporary, path).map_err(CheckpointerError::IOError));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    fn delete(&self, interval: usize) -> Result<(), CheckpointerError> {
        let path = Self::path(&self.dir, interval);
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CheckpointerError::IOError(error))
            }
            _ => Ok(()),
        }
    }

    fn restore(&self, interval: usize) -> Result<ModuleRecord, CheckpointerError> {
        Checkpoint::load(Self::path(&self.dir, interval))
    }
}

/// Drops records: optimizer and scheduler are not needed to keep the best model.
pub(super) struct Discard;

impl<R: Checkpoint> Checkpointer<R> for Discard {
    fn save(&self, _: usize, _: R) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn delete(&self, _: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn restore(&self, interval: usize) -> Result<R, CheckpointerError> {
        Err(CheckpointerError::Unknown(format!(
            "interval {interval} was not kept"
        )))
    }
}
