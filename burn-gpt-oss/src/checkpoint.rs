//! Checkpoint directories in the published format: `config.json`, safetensors shards with or
//! without an index, experts in MXFP4 or BF16.

mod card;
mod checks;
mod companions;
mod convert;
mod dialect;
mod directory;
mod elements;
mod encode;
mod files;
mod foreign;
mod form;
mod generation_config;
mod gguf;
mod load;
mod located;
mod mapped;
mod names;
mod packed;
mod plan;
mod reader;
mod validate;
mod write;

pub(crate) use elements::decode;
pub(crate) use mapped::MappedFile;

pub use card::ModelCard;
pub use companions::carry_over;
pub use convert::{ConvertReport, ConvertTarget, ConvertedFile, Converter};
pub use dialect::Dialect;
pub use directory::OutputDirectory;
pub use form::CheckpointForm;
pub use gguf::{GgufFile, GgufTensor, GgufValue};
pub use names::{TensorLayout, TensorSpec, checkpoint_name, tensor_specs};
pub use reader::{CheckpointReader, RawTensor};
pub use validate::{
    Comparison, Engine, EngineVerdict, Finding, MatrixContent, Severity, ValidationReport, Verdict,
    WeightContent, validate_checkpoint,
};
pub use write::{CheckpointWriter, SaveReport};

/// Progress of reading or writing, one call per tensor.
#[derive(Clone, Debug)]
pub struct CheckpointProgress<'a> {
    /// Name of the tensor just done.
    pub tensor: &'a str,
    /// Bytes of the file done so far.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}
