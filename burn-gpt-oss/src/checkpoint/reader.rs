use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::Bytes;
use safetensors::Dtype;

use super::companions::Companions;
use super::form::{Part, StoredTensor};
use super::mapped::MappedFile;
use super::{CheckpointForm, TensorSpec, files, foreign, tensor_specs};
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// An opened checkpoint directory. Files are mapped, nothing is decoded yet.
///
/// The set of tensors is checked against the configuration when the directory is opened: names,
/// shapes and element types, none missing and none unknown.
pub struct CheckpointReader {
    dir: PathBuf,
    config: GptOssConfig,
    specs: Vec<TensorSpec>,
    files: Vec<MappedFile>,
    /// Tensor name to the index of its file.
    locations: BTreeMap<String, usize>,
    companions: Companions,
}

/// A tensor as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub struct RawTensor<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: &'a [usize],
    /// Little-endian elements.
    pub bytes: &'a [u8],
}

impl CheckpointReader {
    /// Opens a directory with `config.json` and `model.safetensors`, or the shards listed in
    /// `model.safetensors.index.json`.
    ///
    /// # Errors
    /// Every missing, malformed or mismatching file and tensor, by name; both a single file and the
    /// index of other files; the tensors of another program's layout.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, GptOssError> {
        let dir = dir.as_ref();
        let config = GptOssConfig::from_file(dir.join("config.json"))?;
        let (files, locations) = files::open(dir)?;
        foreign::refuse(dir, locations.keys().map(String::as_str))?;
        let specs = tensor_specs(&config);
        let reader = Self {
            dir: dir.to_path_buf(),
            config,
            specs,
            files,
            locations,
            companions: Companions::open(dir)?,
        };
        reader.check()?;
        Ok(reader)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The architecture.
    pub fn config(&self) -> &GptOssConfig {
        &self.config
    }

    /// All parameters of the model, sorted by name.
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// Names of all tensors in the files, sorted.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.locations.keys().map(String::as_str)
    }

    /// How the experts are stored; a checkpoint that mixes forms counts as packed, and as one with scales of inputs if
    /// any matrix has one.
    pub fn form(&self) -> CheckpointForm {
        let forms = || self.specs.iter().map(|spec| self.form_of(spec));
        let with_inputs = forms().find(|form| form.inputs().is_some());
        let packed = || forms().find(|form| form.scheme().is_some());
        with_inputs.or_else(packed).unwrap_or(CheckpointForm::Bf16)
    }

    /// Bytes of all tensors.
    pub fn data_len(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.metadata.data_len() as u64)
            .sum()
    }

    /// Size of the safetensors files, headers included.
    ///
    /// # Errors
    /// A file that vanished meanwhile.
    pub fn file_len(&self) -> Result<u64, GptOssError> {
        let len = |file: &MappedFile| {
            let metadata =
                std::fs::metadata(&file.path).map_err(GptOssError::io(&file.path, "stat"))?;
            Ok(metadata.len())
        };
        self.files.iter().map(len).sum()
    }

    /// Copies the generation configuration and the tokenizer files of this checkpoint, as they were when
    /// it was opened, into another directory.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn carry_over(&self, to: &Path) -> Result<(), GptOssError> {
        self.companions.copy_to(to)
    }

    /// Fails if one of the files was written to since they were opened.
    ///
    /// # Errors
    /// [`GptOssError::FileChanged`].
    pub fn check_unchanged(&self) -> Result<(), GptOssError> {
        self.files.iter().try_for_each(MappedFile::check_unchanged)
    }

    /// The form of one parameter.
    pub(super) fn form_of(&self, spec: &TensorSpec) -> CheckpointForm {
        CheckpointForm::of(spec, |name| self.locations.contains_key(name))
    }

    /// Whether a parameter is stored packed.
    pub(super) fn is_packed(&self, spec: &TensorSpec) -> bool {
        self.form_of(spec).scheme().is_some()
    }

    /// The tensors that store a parameter.
    pub(super) fn stored(&self, spec: &TensorSpec) -> Result<Vec<StoredTensor>, GptOssError> {
        self.form_of(spec).stored(spec)
    }

    /// The name of a part of a parameter.
    pub(super) fn name_of(&self, spec: &TensorSpec, part: Part) -> Result<String, GptOssError> {
        let mut stored = self.stored(spec)?.into_iter();
        let found = stored.find(|tensor| tensor.part == part);
        found
            .map(|tensor| tensor.name)
            .ok_or_else(|| self.missing(&spec.name))
    }

    /// A tensor as it lies in the file.
    ///
    /// # Errors
    /// [`GptOssError::MissingTensor`].
    pub fn raw(&self, name: &str) -> Result<RawTensor<'_>, GptOssError> {
        let (file, info) = self.find(name)?;
        let (start, end) = info.data_offsets;
        Ok(RawTensor {
            dtype: info.dtype,
            shape: &info.shape,
            bytes: file.bytes(start..end),
        })
    }

    /// The bytes of a tensor, which stay mapped for as long as somebody holds them.
    pub(super) fn shared(&self, name: &str) -> Result<Bytes, GptOssError> {
        let (file, info) = self.find(name)?;
        Ok(file.shared(info.data_offsets.0..info.data_offsets.1))
    }

    /// Gives the memory of a tensor's pages back.
    pub(super) fn release(&self, name: &str) {
        if let Ok((file, info)) = self.find(name) {
            file.release(info.data_offsets.0..info.data_offsets.1);
        }
    }

    /// The file that holds a tensor, for error messages.
    pub(super) fn file_of(&self, name: &str) -> PathBuf {
        self.find(name)
            .map_or_else(|_| self.dir.clone(), |(file, _)| file.path.clone())
    }

    fn find(
        &self,
        name: &str,
    ) -> Result<(&MappedFile, &safetensors::tensor::TensorInfo), GptOssError> {
        self.locations
            .get(name)
            .and_then(|file| {
                let file = &self.files[*file];
                Some((file, file.metadata.info(name)?))
            })
            .ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> GptOssError {
        GptOssError::MissingTensor {
            path: self.dir.clone(),
            tensor: name.into(),
            hint: "the checkpoint is incomplete or config.json belongs to another model".into(),
        }
    }

    /// Compares names, shapes and element types with the configuration.
    fn check(&self) -> Result<(), GptOssError> {
        let mut known = BTreeSet::new();
        for spec in &self.specs {
            for stored in self.stored(spec)? {
                let found = self.raw(&stored.name)?;
                if !stored.has_shape(found.shape, self.config.num_local_experts) {
                    return Err(GptOssError::Shape {
                        path: self.file_of(&stored.name),
                        tensor: stored.name,
                        expected: stored.shape,
                        found: found.shape.to_vec(),
                    });
                }
                check_dtype(&stored, found.dtype, || self.file_of(&stored.name))?;
                known.insert(stored.name);
            }
        }
        let unknown: Vec<_> = self
            .locations
            .keys()
            .filter(|name| !known.contains(*name))
            .cloned()
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(GptOssError::UnexpectedTensors {
            path: self.dir.clone(),
            tensors: unknown,
        })
    }
}

fn check_dtype(
    stored: &StoredTensor,
    found: Dtype,
    path: impl Fn() -> PathBuf,
) -> Result<(), GptOssError> {
    let readable = stored.readable();
    if readable.contains(&found) {
        return Ok(());
    }
    let names: Vec<String> = readable.iter().map(|dtype| format!("{dtype:?}")).collect();
    Err(GptOssError::Dtype {
        path: path(),
        tensor: stored.name.clone(),
        expected: names.join(" or "),
        found: format!("{found:?}"),
    })
}
