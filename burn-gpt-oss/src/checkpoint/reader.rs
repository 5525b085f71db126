use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use burn::tensor::Bytes;
use safetensors::Dtype;
use serde_json::{Value, json};

use super::companions::Companions;
use super::dialect::{self, Dialect};
use super::form::{Part, StoredTensor};
use super::located::{Located, Place};
use super::mapped::MappedFile;
use super::{CheckpointForm, TensorSpec, files, tensor_specs};
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// An opened checkpoint directory. Files are mapped, nothing is decoded yet.
///
/// Tensors are known by the names of the published checkpoints, whatever the files call them; [`Dialect`] tells
/// what they do. The set of tensors is checked against the configuration when the directory is opened: names,
/// shapes and element types, none missing and none unknown.
///
/// On Unix the first one sets up a handler of SIGBUS, which the system sends for a page of a mapped file that is gone. Signals
/// that are about other memory go to the handler that was there.
pub struct CheckpointReader {
    dir: PathBuf,
    config: GptOssConfig,
    pub(super) specs: Vec<TensorSpec>,
    files: Vec<MappedFile>,
    dialect: Dialect,
    pub(super) tensors: BTreeMap<String, Located>,
    companions: Companions,
}

/// A tensor as it lies in the file.
#[derive(Clone, Debug)]
pub struct RawTensor<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: &'a [usize],
    /// Little-endian elements; a copy where the file has the tensor in pieces.
    pub bytes: Cow<'a, [u8]>,
}

impl CheckpointReader {
    /// Opens a directory with `config.json` and `model.safetensors`, or the shards listed in
    /// `model.safetensors.index.json`.
    ///
    /// # Errors
    /// Every missing, malformed or mismatching file and tensor, by name; both a single file and the
    /// index of other files; the tensors of another program's layout.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, GptOssError> {
        let reader = Self::open_unchecked(dir.as_ref())?;
        match reader.problems().into_iter().next() {
            None => Ok(reader),
            Some(problem) => Err(problem),
        }
    }

    /// Opens a directory whose tensors may not be those that the configuration calls for.
    pub(super) fn open_unchecked(dir: &Path) -> Result<Self, GptOssError> {
        let config = GptOssConfig::from_file(dir.join("config.json"))?;
        let files = files::open(dir)?;
        let (dialect, tensors) = dialect::locate(dir, &config, &files)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            specs: tensor_specs(&config),
            config,
            files: files.0,
            dialect,
            tensors,
            companions: Companions::open(dir)?,
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files of weights.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The architecture.
    pub fn config(&self) -> &GptOssConfig {
        &self.config
    }

    /// All parameters of the model, sorted by name.
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// Whose names the files have.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Names of all tensors, sorted.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
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

    /// Fails if one of the files was written to since they were opened, or a page of it could not be read.
    ///
    /// # Errors
    /// [`GptOssError::FileChanged`].
    pub fn check_unchanged(&self) -> Result<(), GptOssError> {
        self.files.iter().try_for_each(MappedFile::check_unchanged)
    }

    /// What tells these files from others: their names, lengths and times.
    pub(super) fn identity(&self) -> Value {
        let of_file = |file: &MappedFile| {
            let (len, modified) = file.opened();
            let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            json!([
                file.path,
                len,
                since.map(|since| since.as_nanos().to_string())
            ])
        };
        let files: Vec<Value> = self.files.iter().map(of_file).collect();
        let companions = self.companions.identity();
        json!({"files": files, "config": self.config.to_json(), "companions": companions})
    }

    /// Companions such as the tokenizer: the text of one, if it was there when the checkpoint was opened.
    ///
    /// # Errors
    /// A file that cannot be read, or is no UTF-8.
    pub(super) fn companion(&self, name: &str) -> Result<Option<String>, GptOssError> {
        self.companions.text(name)
    }

    /// The form of one parameter.
    pub(super) fn form_of(&self, spec: &TensorSpec) -> CheckpointForm {
        CheckpointForm::of(spec, |name| self.tensors.contains_key(name))
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

    /// A tensor as it lies in the file. Of one that cannot be read to its end bytes may be zeros:
    /// [`check_unchanged`](Self::check_unchanged) tells afterwards.
    ///
    /// # Errors
    /// [`GptOssError::MissingTensor`].
    pub fn raw(&self, name: &str) -> Result<RawTensor<'_>, GptOssError> {
        let tensor = self.find(name)?;
        Ok(RawTensor {
            dtype: tensor.dtype,
            shape: &tensor.shape,
            bytes: tensor.bytes(&self.files),
        })
    }

    /// Some indices of the leading axis of a tensor.
    ///
    /// # Errors
    /// [`GptOssError::MissingTensor`].
    pub(super) fn raw_of(
        &self,
        name: &str,
        leading: Range<usize>,
    ) -> Result<Cow<'_, [u8]>, GptOssError> {
        Ok(self.find(name)?.bytes_of(leading, &self.files))
    }

    /// The bytes of a tensor, which stay mapped for as long as somebody holds them.
    pub(super) fn shared(&self, name: &str) -> Result<Bytes, GptOssError> {
        let tensor = self.find(name)?;
        Ok(match &tensor.place {
            Place::File(extent) => self.files[extent.file].shared(extent.range.clone()),
            _ => Bytes::from_bytes_vec(tensor.bytes(&self.files).into_owned()),
        })
    }

    pub(super) fn shape_of(&self, name: &str) -> Result<&[usize], GptOssError> {
        Ok(&self.find(name)?.shape)
    }

    pub(super) fn dtype_of(&self, name: &str) -> Result<Dtype, GptOssError> {
        Ok(self.find(name)?.dtype)
    }

    /// The shape of a global scale as it is written: one number, or one for each expert.
    pub(super) fn global_shape(&self, name: &str) -> Vec<usize> {
        match self.tensors.get(name).map(|tensor| tensor.shape.as_slice()) {
            Some([experts]) if *experts > 1 => vec![*experts],
            _ => Vec::new(),
        }
    }

    /// Bytes of a tensor, none if it is not there.
    pub(super) fn stored_bytes(&self, name: &str) -> u64 {
        self.find(name).map_or(0, |tensor| tensor.n_bytes() as u64)
    }

    /// Gives the memory of a tensor's pages back.
    pub(super) fn release(&self, name: &str) {
        let extents = self.find(name).into_iter().flat_map(Located::extents);
        for extent in extents {
            self.files[extent.file].release(extent.range.clone());
        }
    }

    /// The file that holds a tensor, for error messages.
    pub(super) fn file_of(&self, name: &str) -> PathBuf {
        let file = self.find(name).ok().and_then(Located::file);
        file.map_or_else(|| self.dir.clone(), |file| self.files[file].path.clone())
    }

    pub(super) fn find(&self, name: &str) -> Result<&Located, GptOssError> {
        self.tensors.get(name).ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> GptOssError {
        GptOssError::MissingTensor {
            path: self.dir.clone(),
            tensor: name.into(),
            hint: "the checkpoint is incomplete or config.json belongs to another model".into(),
        }
    }
}
