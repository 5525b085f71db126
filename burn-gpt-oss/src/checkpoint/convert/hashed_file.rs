//! A file whose SHA-256 is computed while it is written.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::work_directory::{ConvertedFile, hex};
use crate::error::GptOssError;

/// Bytes from which on writing and hashing run side by side.
const PARALLEL: usize = 1 << 18;

pub(super) struct HashedFile {
    path: PathBuf,
    file: File,
    hash: Sha256,
    bytes: u64,
    /// Pieces too small to be written one by one.
    pending: Vec<u8>,
}

impl HashedFile {
    pub fn create(path: &Path) -> Result<Self, GptOssError> {
        Ok(Self {
            path: path.to_path_buf(),
            file: File::create(path).map_err(GptOssError::io(path, "create"))?,
            hash: Sha256::new(),
            bytes: 0,
            pending: Vec::new(),
        })
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), GptOssError> {
        self.bytes += bytes.len() as u64;
        if bytes.len() < PARALLEL {
            self.pending.extend_from_slice(bytes);
            if self.pending.len() >= PARALLEL {
                self.flush()?;
            }
            return Ok(());
        }
        self.flush()?;
        self.write_through(bytes)
    }

    /// The file with its hash; it is not synced yet.
    pub fn finish(mut self) -> Result<ConvertedFile, GptOssError> {
        self.flush()?;
        let digest = self.hash.finalize();
        let name = self.path.file_name().unwrap_or_default();
        Ok(ConvertedFile {
            name: name.to_string_lossy().into_owned(),
            bytes: self.bytes,
            sha256: hex(&digest),
        })
    }

    fn flush(&mut self) -> Result<(), GptOssError> {
        let pending = std::mem::take(&mut self.pending);
        self.write_through(&pending)?;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    fn write_through(&mut self, bytes: &[u8]) -> Result<(), GptOssError> {
        let (file, hash) = (&mut self.file, &mut self.hash);
        let mut write = || file.write_all(bytes);
        let written = match bytes.len() < PARALLEL {
            true => {
                hash.update(bytes);
                write()
            }
            false => rayon::join(write, || hash.update(bytes)).0,
        };
        written.map_err(GptOssError::io(&self.path, "write"))
    }
}
