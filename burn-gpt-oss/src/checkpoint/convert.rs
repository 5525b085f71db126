//! From one form to another, tensor by tensor: no model is built, and memory holds one expert at a time.

mod encoder;
mod hashed_file;
mod metadata;
mod output;
mod run;
mod target;
mod work_directory;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn_fp4::{CastReport, Fp4Scheme};
use encoder::Encoder;

use run::Run;
use serde_json::{Value, json};
use work_directory::WorkDirectory;

use super::plan::{InHeader, header, index, shard_name, shards};
use super::{CheckpointProgress, CheckpointReader, card, gguf};
use crate::error::GptOssError;

pub(super) use output::{Element, OutputTensor};
pub use target::ConvertTarget;
pub use work_directory::ConvertedFile;

/// Writes a checkpoint in another form.
///
/// What a target stores as the source does is copied byte for byte. MXFP4 becomes NVFP4 by
/// [`PackedFp4::cast_to_nvfp4`](burn_fp4::PackedFp4::cast_to_nvfp4), from bytes to bytes; BF16 is exact for MXFP4, and
/// values are rounded to the nearest one for NVFP4. Dense experts, and NVFP4 that becomes MXFP4, are quantized by a
/// [scheme](Self::with_scheme).
#[derive(Clone)]
pub struct Converter<'a> {
    source: &'a CheckpointReader,
    target: ConvertTarget,
    scheme: Option<Fp4Scheme>,
    shard_bytes: u64,
    overwrite: bool,
}

/// What a conversion did.
#[derive(Clone, Debug)]
pub struct ConvertReport {
    /// The directory.
    pub dir: PathBuf,
    /// Its form.
    pub target: ConvertTarget,
    /// Its files, with their hashes.
    pub files: Vec<ConvertedFile>,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Files of weights that an interrupted conversion had completed.
    pub resumed: usize,
    /// Of blocks that were cast from MXFP4 to NVFP4, how many are exact.
    pub cast: Option<CastReport>,
    /// The scheme that other matrices were rounded with.
    pub scheme: Option<Fp4Scheme>,
    /// Tensors that were rounded to BF16.
    pub rounded: Vec<String>,
    /// What a user should know of the result.
    pub notes: Vec<String>,
}

impl<'a> Converter<'a> {
    /// A converter with the default rule for scales, and shards of at most 5 GB.
    pub fn new(source: &'a CheckpointReader, target: ConvertTarget) -> Self {
        Self {
            source,
            target,
            scheme: target.scheme(),
            shard_bytes: 5_000_000_000,
            overwrite: false,
        }
    }

    /// How matrices are rounded that are not in the format of the target.
    ///
    /// # Errors
    /// [`GptOssError::Setting`] for a scheme of another format.
    pub fn with_scheme(self, scheme: Fp4Scheme) -> Result<Self, GptOssError> {
        if !self.target.form().holds(scheme) || self.scheme.is_none() {
            return Err(GptOssError::Setting {
                key: "scheme".into(),
                expected: format!("a scheme that `{}` stores", self.target),
                found: scheme.to_string(),
            });
        }
        let scheme = Some(scheme);
        Ok(Self { scheme, ..self })
    }

    /// Limits the size of one file, in bytes; a single larger tensor gets a file of its own.
    pub fn with_shard_bytes(self, shard_bytes: u64) -> Self {
        Self {
            shard_bytes,
            ..self
        }
    }

    /// Replaces a directory that is not empty.
    pub fn with_overwrite(self, overwrite: bool) -> Self {
        Self { overwrite, ..self }
    }

    /// Writes the directory. It appears under its name when it is complete; until then its files are in
    /// `.NAME.converting` beside it. Where a run was interrupted, the same conversion goes on there and keeps the
    /// files that are complete. `progress` can stop the run.
    ///
    /// # Errors
    /// An occupied target, damaged or non-finite weights, a source that changes meanwhile, what the target cannot
    /// express, [`GptOssError::Interrupted`], and errors of the file system.
    pub fn run(
        &self,
        dir: impl AsRef<Path>,
        progress: impl FnMut(CheckpointProgress<'_>) -> ControlFlow<()>,
    ) -> Result<ConvertReport, GptOssError> {
        let dir = dir.as_ref();
        metadata::check(self.source, self.target)?;
        self.check_place(dir)?;
        let tensors = output::plan(self.source, self.target)?;
        let mut work = WorkDirectory::open(dir, self.identity(), self.overwrite)?;
        let encoder = Encoder::new(self.source, self.target, self.scheme, work.totals());
        let total = tensors.iter().map(InHeader::n_bytes).sum();
        let mut run = Run::new(encoder, progress, total);
        let mut notes = Vec::new();
        match self.target {
            ConvertTarget::Gguf => {
                let gguf::Header {
                    bytes,
                    notes: found,
                } = gguf::header(self.source, &tensors)?;
                notes = found;
                run.file(&mut work, gguf::FILE, &bytes, &tensors, gguf::ALIGNMENT)?;
            }
            _ => {
                let files = shards(&tensors, self.shard_bytes);
                for (i, shard) in files.iter().enumerate() {
                    let name = shard_name(i, files.len());
                    run.file(&mut work, &name, &header(shard), shard, 1)?;
                }
                self.source.carry_over(&work.path(""))?;
                let index = (files.len() > 1).then(|| index(&files));
                metadata::write(&work, self.source, self.target, index)?;
            }
        }
        self.source.check_unchanged()?;
        notes.extend(self.notes());
        let mut report = ConvertReport {
            dir: dir.to_path_buf(),
            target: self.target,
            files: Vec::new(),
            bytes: total,
            resumed: run.resumed,
            cast: run.encoder.cast,
            scheme: self.scheme,
            rounded: run.encoder.rounded,
            notes,
        };
        let card = card::of_conversion(self.source, &report);
        let path = work.path(card::FILE);
        std::fs::write(&path, card).map_err(GptOssError::io(&path, "write"))?;
        work.hash_rest()?;
        report.files = work.files();
        work.commit()?;
        Ok(report)
    }

    /// Fails if the output would take the place of what is read.
    fn check_place(&self, dir: &Path) -> Result<(), GptOssError> {
        let Ok(place) = dir.canonicalize() else {
            return Ok(());
        };
        let inside = |path: &Path| {
            path.canonicalize()
                .is_ok_and(|path| path.starts_with(&place))
        };
        let files = self.source.paths().chain([self.source.dir()]);
        match files.filter(|path| inside(path)).count() {
            0 => Ok(()),
            _ => Err(GptOssError::OutputIsSource {
                path: dir.to_path_buf(),
                source_dir: self.source.dir().to_path_buf(),
            }),
        }
    }

    fn identity(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "source": self.source.identity(),
            "target": self.target.name(),
            "scheme": self.scheme,
            "shard_bytes": self.shard_bytes,
        })
    }

    fn notes(&self) -> Vec<String> {
        let inputs = self.source.form().inputs().is_some();
        let keeps = matches!(
            self.target,
            ConvertTarget::Nvfp4 | ConvertTarget::CompressedNvfp4
        );
        let dropped = "the scales of inputs (W4A4) have no place in this form and are left out";
        let dropped = (inputs && !keeps).then(|| dropped.to_owned());
        let warning = self.target.warning().map(str::to_owned);
        dropped.into_iter().chain(warning).collect()
    }
}
