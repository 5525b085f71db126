//! Checkpoint directories in the published format: `config.json`, safetensors shards with or
//! without an index, experts in MXFP4 or BF16.

mod companions;
mod convert;
mod directory;
mod encode;
mod files;
mod foreign;
mod generation_config;
mod load;
mod mapped;
mod names;
mod plan;
mod reader;
mod write;

use crate::config::GptOssConfig;

pub use companions::carry_over;
pub use directory::OutputDirectory;
pub use names::{TensorLayout, TensorSpec, checkpoint_name, tensor_specs};
pub use reader::{CheckpointReader, RawTensor};
pub use write::{CheckpointWriter, SaveReport};

/// How the expert matrices of a checkpoint are stored; everything else is BF16 in both forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointForm {
    /// `_blocks` and `_scales`, 4.25 bits per weight: the published form.
    Mxfp4,
    /// Dense `[experts, in, out]`.
    Bf16,
}

impl CheckpointForm {
    /// Bytes of all tensors of a model in this form.
    pub fn bytes(self, config: &GptOssConfig) -> u64 {
        let experts = config.num_expert_weights();
        let experts = match self {
            // A block of 32 is 16 bytes of codes and one of scale.
            Self::Mxfp4 => experts / 32 * 17,
            Self::Bf16 => 2 * experts,
        };
        experts + 2 * config.num_dense_weights()
    }
}

impl std::fmt::Display for CheckpointForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mxfp4 => "MXFP4",
            Self::Bf16 => "BF16",
        })
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_published_files() {
        let small = GptOssConfig::gpt_oss_20b();
        // 13.76 GB: U8 10,152,345,600 bytes and BF16 3,608,919,168 bytes.
        assert_eq!(CheckpointForm::Mxfp4.bytes(&small), 13_761_264_768);
        assert_eq!(CheckpointForm::Bf16.bytes(&small), 41_829_514_368);
    }
}
