use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::encode::Encoder;
use super::plan::{InHeader, PlannedTensor, header, index, plan, shard_name, shards};
use super::{
    CheckpointForm, CheckpointProgress, CheckpointReader, OutputDirectory, carry_over, tensor_specs,
};
use crate::config::GptOssConfig;
use crate::error::GptOssError;
use crate::model::GptOss;

/// Writes checkpoint directories that transformers, vLLM, SGLang, TensorRT-LLM and llama.cpp load.
#[derive(Clone, Copy)]
pub struct CheckpointWriter<'a> {
    form: CheckpointForm,
    shard_bytes: u64,
    overwrite: bool,
    source: Option<&'a CheckpointReader>,
    companions: Option<&'a Path>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveReport {
    /// The directory.
    pub dir: PathBuf,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Number of safetensors files.
    pub shards: usize,
    /// Expert matrices whose values did not change and whose bytes were copied from the source.
    pub copied: Vec<String>,
}

impl<'a> CheckpointWriter<'a> {
    /// A writer for one form, with shards of at most 5 GB.
    pub fn new(form: CheckpointForm) -> Self {
        Self {
            form,
            shard_bytes: 5_000_000_000,
            overwrite: false,
            source: None,
            companions: None,
        }
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

    /// The checkpoint the model came from: its tokenizer and generation files are carried over, and
    /// expert matrices whose values are still the same are copied byte for byte (packing them anew
    /// would keep the values but not always the bytes).
    pub fn with_source(self, source: &'a CheckpointReader) -> Self {
        Self {
            source: Some(source),
            ..self
        }
    }

    /// Takes tokenizer and generation files from a directory instead.
    pub fn with_companions(self, dir: &'a Path) -> Self {
        Self {
            companions: Some(dir),
            ..self
        }
    }

    /// Writes a model. Expert matrices are quantized from the parameters themselves, so with
    /// [`CheckpointForm::Mxfp4`] and [`CheckpointForm::Nvfp4`] the codes are those a fake quantizer on them computes.
    /// Packed matrices of the same format are written code for code; with [`CheckpointForm::Bf16`] packed matrices are
    /// decoded.
    ///
    /// # Errors
    /// An occupied target, non-finite weights, adapters that were not merged, activation quantizers,
    /// matrices in another format than that of the form, and errors of the file system. Nothing is left
    /// behind then.
    pub fn save(
        &self,
        model: &GptOss,
        target: impl AsRef<Path>,
        progress: impl FnMut(CheckpointProgress<'_>),
    ) -> Result<SaveReport, GptOssError> {
        self.save_checked(model, target, progress, |_| Ok(()))
    }

    /// As [`save`](Self::save), with a look at the complete directory before it is put in place: if
    /// `check` fails, an older directory stays as it was and nothing new is left behind.
    ///
    /// # Errors
    /// Those of [`save`](Self::save) and those of `check`.
    pub fn save_checked<E: From<GptOssError>>(
        &self,
        model: &GptOss,
        target: impl AsRef<Path>,
        progress: impl FnMut(CheckpointProgress<'_>),
        check: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<SaveReport, E> {
        let (output, report) = self.write(model, target.as_ref(), progress)?;
        check(output.path())?;
        output.commit()?;
        Ok(report)
    }

    fn write(
        &self,
        model: &GptOss,
        target: &Path,
        progress: impl FnMut(CheckpointProgress<'_>),
    ) -> Result<(OutputDirectory, SaveReport), GptOssError> {
        let specs = tensor_specs(model.config());
        let tensors = plan(&specs, self.form)?;
        let output = OutputDirectory::create(target, self.overwrite)?;
        match (self.companions, self.source) {
            (Some(dir), _) => carry_over(dir, output.path())?,
            (None, Some(source)) => source.carry_over(output.path())?,
            (None, None) => {}
        }
        write_json(
            &output.path().join("config.json"),
            &config_document(model.config(), self.form.quantization_config()),
        )?;
        if let Some(config) = self.form.hf_quant_config() {
            write_json(&output.path().join("hf_quant_config.json"), &config)?;
        }

        let files = shards(&tensors, self.shard_bytes);
        if files.len() > 1 {
            write_json(
                &output.path().join("model.safetensors.index.json"),
                &index(&files),
            )?;
        }
        let mut encoder = Encoder::new(model, &specs, self.form, self.source)?;
        let mut progress = Counted::new(progress, &tensors);
        for (i, shard) in files.iter().enumerate() {
            let path = output.path().join(shard_name(i, files.len()));
            write_shard(&path, shard, &mut encoder, &mut progress)?;
        }
        let (copied, bytes, shards) = (encoder.copied, progress.total, files.len());
        let dir = target.to_path_buf();
        Ok((
            output,
            SaveReport {
                dir,
                bytes,
                shards,
                copied,
            },
        ))
    }
}

/// The text of `config.json` for weights that are stored in some way.
pub(super) fn config_document(config: &GptOssConfig, quantization: Option<Value>) -> Value {
    let mut config = config.clone();
    config.quantization_config = quantization;
    let mut json = config.to_json();
    // Loaders take the element type from the tensors; a stale key would overrule them.
    if let Some(map) = json.as_object_mut() {
        map.remove("torch_dtype");
        map.remove("dtype");
    }
    json
}

/// Progress with a running sum.
struct Counted<P> {
    report: P,
    done: u64,
    total: u64,
}

impl<P: FnMut(CheckpointProgress<'_>)> Counted<P> {
    fn new(report: P, tensors: &[PlannedTensor]) -> Self {
        Self {
            report,
            done: 0,
            total: tensors.iter().map(InHeader::n_bytes).sum(),
        }
    }

    fn add(&mut self, tensor: &PlannedTensor) {
        self.done += tensor.n_bytes();
        (self.report)(CheckpointProgress {
            tensor: &tensor.stored.name,
            bytes_done: self.done,
            bytes_total: self.total,
        });
    }
}

fn write_shard<P: FnMut(CheckpointProgress<'_>)>(
    path: &Path,
    tensors: &[PlannedTensor],
    encoder: &mut Encoder<'_>,
    progress: &mut Counted<P>,
) -> Result<(), GptOssError> {
    let file = File::create(path).map_err(GptOssError::io(path, "create"))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    file.write_all(&header(tensors))
        .map_err(GptOssError::io(path, "write"))?;
    for tensor in tensors {
        let bytes = encoder.encode(tensor)?;
        debug_assert_eq!(bytes.len() as u64, tensor.n_bytes());
        file.write_all(&bytes)
            .map_err(GptOssError::io(path, "write"))?;
        progress.add(tensor);
    }
    file.flush().map_err(GptOssError::io(path, "write"))
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), GptOssError> {
    std::fs::write(path, format!("{value:#}\n")).map_err(GptOssError::io(path, "write"))
}
