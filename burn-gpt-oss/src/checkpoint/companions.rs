//! Files beside the weights that belong to a model and travel with it.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::GptOssError;

const NAMES: [&str; 9] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
];

/// The files of a directory, held open: a training may take a week, and the directory may be moved or
/// removed meanwhile.
pub(super) struct Companions(Vec<Companion>);

struct Companion {
    name: &'static str,
    path: PathBuf,
    file: File,
}

impl Companions {
    /// Opens those that are there.
    pub(super) fn open(dir: &Path) -> Result<Self, GptOssError> {
        let mut files = Vec::new();
        for name in NAMES {
            let path = dir.join(name);
            match File::open(&path) {
                Ok(file) if path.is_file() => files.push(Companion { name, path, file }),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(GptOssError::io(path, "open")(error)),
            }
        }
        Ok(Self(files))
    }

    /// Copies them into another directory.
    pub(super) fn copy_to(&self, dir: &Path) -> Result<(), GptOssError> {
        for companion in &self.0 {
            // Not `fs::copy`: it would also copy a read-only mode, and the next overwrite would fail.
            let target = dir.join(companion.name);
            std::fs::write(&target, companion.bytes()?)
                .map_err(GptOssError::io(&target, "write"))?;
        }
        Ok(())
    }

    /// What tells these files from others.
    pub(super) fn identity(&self) -> Vec<String> {
        let of_file = |companion: &Companion| {
            let metadata = companion.file.metadata();
            let known = metadata.map(|found| (found.len(), found.modified().ok()));
            format!("{} {known:?}", companion.name)
        };
        self.0.iter().map(of_file).collect()
    }

    /// The text of one of them.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, GptOssError> {
        let Some(companion) = self.0.iter().find(|companion| companion.name == name) else {
            return Ok(None);
        };
        let text = String::from_utf8(companion.bytes()?);
        text.map(Some).map_err(|_| GptOssError::Json {
            path: companion.path.clone(),
            key: ".".into(),
            message: "the file is not UTF-8".into(),
        })
    }
}

impl Companion {
    fn bytes(&self) -> Result<Vec<u8>, GptOssError> {
        let (mut bytes, mut file) = (Vec::new(), &self.file);
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(GptOssError::io(&self.path, "read"))?;
        Ok(bytes)
    }
}

/// Copies generation configuration and tokenizer files from one checkpoint directory to another.
///
/// # Errors
/// Errors of the file system; absent files are skipped.
pub fn carry_over(from: &Path, to: &Path) -> Result<(), GptOssError> {
    Companions::open(from)?.copy_to(to)
}
