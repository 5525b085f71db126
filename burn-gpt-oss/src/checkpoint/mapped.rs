#![allow(unsafe_code)]

#[cfg(unix)]
mod lost_pages;
#[cfg(not(unix))]
#[path = "mapped/unwatched.rs"]
mod lost_pages;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use burn::tensor::{AllocationProperty, Bytes};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use safetensors::tensor::{Metadata, SafeTensors};

use self::lost_pages::Watch;
use crate::error::GptOssError;
use crate::json_file::LFS_POINTER;

/// A safetensors file mapped into memory, its header checked.
pub(crate) struct MappedFile {
    pub path: PathBuf,
    pub metadata: Metadata,
    data_start: usize,
    /// What is read from.
    map: Watched,
    /// Another map of the file, for tensors that outlive the reader.
    in_use: Arc<Watched>,
    shared: bytes::Bytes,
    file: File,
    /// Length and time of the last change when the file was opened.
    opened: (u64, Option<SystemTime>),
}

/// A map of a file; the watch ends before it.
struct Watched {
    watch: Watch,
    map: Mmap,
}

/// An owner of a map among others.
struct Share(Arc<Watched>);

impl AsRef<[u8]> for Share {
    fn as_ref(&self) -> &[u8] {
        &self.0.map
    }
}

impl MappedFile {
    pub fn open(path: &Path) -> Result<Self, GptOssError> {
        let file = File::open(path).map_err(GptOssError::io(path, "open"))?;
        let opened = version(&file).map_err(GptOssError::io(path, "stat"))?;
        // SAFETY: the maps are private to this reader and the tensors on it, and only read. Of a file that another process
        // writes to, `check_unchanged` tells; `lost_pages` has what happens where it is shortened.
        let map = || unsafe { Mmap::map(&file) }.map_err(GptOssError::io(path, "memory map"));
        let (map, shared) = (map()?, map()?);
        if [map.len(), shared.len()]
            .iter()
            .any(|len| *len as u64 != opened.0)
        {
            return Err(GptOssError::FileChanged { path: path.into() });
        }
        let in_use = Arc::new(Watched {
            watch: Watch::in_use(&shared, path),
            map: shared,
        });
        let reading = Watched {
            watch: Watch::reading(&map),
            map,
        };
        let map = &reading.map;
        if map.starts_with(LFS_POINTER.as_bytes()) {
            return Err(GptOssError::LfsPointer { path: path.into() });
        }
        let (header, metadata) =
            SafeTensors::read_metadata(map).map_err(|error| GptOssError::Safetensors {
                path: path.to_path_buf(),
                message: describe(map, &error),
            })?;
        Ok(Self {
            path: path.to_path_buf(),
            metadata,
            data_start: 8 + header,
            shared: bytes::Bytes::from_owner(Share(in_use.clone())),
            in_use,
            map: reading,
            opened,
            file,
        })
    }

    /// Length and time of the last change when the file was opened.
    pub fn opened(&self) -> (u64, Option<SystemTime>) {
        self.opened
    }

    /// Fails if the file was written to since it was opened, or could not be read. One that was replaced by another file
    /// is not: the map keeps the old one.
    pub fn check_unchanged(&self) -> Result<(), GptOssError> {
        let now = version(&self.file).map_err(GptOssError::io(&self.path, "stat"))?;
        match now == self.opened && !self.map.watch.has_lost() {
            true => Ok(()),
            false => Err(GptOssError::FileChanged {
                path: self.path.clone(),
            }),
        }
    }

    /// Bytes at offsets relative to the data section.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.map.map[self.data_start + range.start..self.data_start + range.end]
    }

    /// The same bytes without a copy, valid for as long as somebody holds them.
    pub fn shared(&self, range: Range<usize>) -> Bytes {
        let range = self.data_start + range.start..self.data_start + range.end;
        Bytes::from_shared(self.shared.slice(range), AllocationProperty::File)
    }

    /// Gives the pages of a range back, so that reading a file of any size needs the memory of one
    /// tensor. Only a hint: a failure changes nothing but memory use.
    #[cfg(unix)]
    pub fn release(&self, range: Range<usize>) {
        let (start, len) = (self.data_start + range.start, range.len());
        for map in [&self.map.map, &self.in_use.map] {
            // SAFETY: the map is read-only and backed by the file, so dropped pages are read again from
            // it when touched; no content can be lost.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len) };
        }
    }

    /// There is no such hint.
    #[cfg(not(unix))]
    pub fn release(&self, _range: Range<usize>) {}
}

fn version(file: &File) -> std::io::Result<(u64, Option<SystemTime>)> {
    let metadata = file.metadata()?;
    Ok((metadata.len(), metadata.modified().ok()))
}

/// Adds expected and found sizes, which the parser's own message lacks.
fn describe(map: &[u8], error: &safetensors::SafeTensorError) -> String {
    let found = map.len();
    match expected_len(map) {
        Some(expected) if expected != found as u128 => format!(
            "the header calls for {expected} bytes, the file has {found}; \
             it is truncated or damaged, download it again"
        ),
        _ => format!("{error} (file of {found} bytes)"),
    }
}

fn expected_len(map: &[u8]) -> Option<u128> {
    let header_len = u64::from_le_bytes(map.get(..8)?.try_into().ok()?);
    let end = u128::from(header_len) + 8;
    let header = map.get(8..usize::try_from(end).ok()?)?;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let ends = header
        .values()
        .filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    Some(end + u128::from(ends.max()?))
}
