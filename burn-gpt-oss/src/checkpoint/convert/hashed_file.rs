//! A file that is written and hashed by a thread of its own, while the next bytes are read and converted.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::work_directory::{ConvertedFile, hex};
use crate::error::GptOssError;

/// Bytes that are handed over at once.
const PIECE: usize = 4 << 20;
/// Pieces that wait.
const WAITING: usize = 4;

pub(super) struct HashedFile {
    path: PathBuf,
    bytes: u64,
    pending: Vec<u8>,
    pieces: Option<SyncSender<Vec<u8>>>,
    writer: Option<JoinHandle<std::io::Result<Sha256>>>,
}

impl HashedFile {
    pub fn create(path: &Path) -> Result<Self, GptOssError> {
        let mut file = File::create(path).map_err(GptOssError::io(path, "create"))?;
        let (pieces, received) = sync_channel::<Vec<u8>>(WAITING);
        let writer = std::thread::spawn(move || {
            let mut hash = Sha256::new();
            for piece in received {
                file.write_all(&piece)?;
                hash.update(&piece);
            }
            Ok(hash)
        });
        Ok(Self {
            path: path.to_path_buf(),
            bytes: 0,
            pending: Vec::with_capacity(PIECE),
            pieces: Some(pieces),
            writer: Some(writer),
        })
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), GptOssError> {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == PIECE {
                self.hand_over()?;
            }
        }
        Ok(())
    }

    /// The file with its hash; it is not synced yet.
    pub fn finish(mut self) -> Result<ConvertedFile, GptOssError> {
        self.hand_over()?;
        let digest = self.join()?.finalize();
        let name = self.path.file_name().unwrap_or_default();
        Ok(ConvertedFile {
            name: name.to_string_lossy().into_owned(),
            bytes: self.bytes,
            sha256: hex(&digest),
        })
    }

    fn hand_over(&mut self) -> Result<(), GptOssError> {
        let piece = std::mem::replace(&mut self.pending, Vec::with_capacity(PIECE));
        match self.pieces.as_ref().map(|pieces| pieces.send(piece)) {
            Some(Ok(())) => Ok(()),
            // The writer has ended, and knows why.
            _ => self.join().map(drop),
        }
    }

    fn join(&mut self) -> Result<Sha256, GptOssError> {
        self.pieces = None;
        let ended = self.writer.take().map(JoinHandle::join);
        let result = match ended {
            Some(Ok(result)) => result,
            _ => Err(std::io::Error::other(
                "the thread that writes it ended early",
            )),
        };
        result.map_err(GptOssError::io(&self.path, "write"))
    }
}

impl Drop for HashedFile {
    fn drop(&mut self) {
        self.pieces = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
