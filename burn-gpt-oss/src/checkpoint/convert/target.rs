//! What a checkpoint can become.

use burn_fp4::Fp4Scheme;
use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointForm;

/// A form that [`Converter`](super::Converter) writes. Serde reads and writes the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConvertTarget {
    /// The published form: MXFP4 in `_blocks` and `_scales`.
    Mxfp4,
    /// Dense experts.
    Bf16,
    /// NVFP4 as ModelOpt has it, with scales of inputs (W4A4) where the source has them.
    Nvfp4,
    /// `mxfp4-pack-quantized` of compressed-tensors, one tensor per expert.
    CompressedMxfp4,
    /// `nvfp4-pack-quantized` of compressed-tensors, one tensor per expert.
    CompressedNvfp4,
    /// MXFP4 under the names of OpenAI's `original/` folder.
    Original,
    /// One file for llama.cpp, experts in MXFP4.
    Gguf,
}

impl ConvertTarget {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Mxfp4,
        Self::Bf16,
        Self::Nvfp4,
        Self::CompressedMxfp4,
        Self::CompressedNvfp4,
        Self::Original,
        Self::Gguf,
    ];

    /// Its name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mxfp4 => "mxfp4",
            Self::Bf16 => "bf16",
            Self::Nvfp4 => "nvfp4",
            Self::CompressedMxfp4 => "compressed-mxfp4",
            Self::CompressedNvfp4 => "compressed-nvfp4",
            Self::Original => "original",
            Self::Gguf => "gguf",
        }
    }

    /// The target of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The scheme of its expert matrices, with the default rule for scales.
    pub const fn scheme(self) -> Option<Fp4Scheme> {
        match self {
            Self::Mxfp4 | Self::CompressedMxfp4 | Self::Original | Self::Gguf => {
                Some(Fp4Scheme::mxfp4())
            }
            Self::Nvfp4 | Self::CompressedNvfp4 => Some(Fp4Scheme::nvfp4()),
            Self::Bf16 => None,
        }
    }

    /// The form under the published names that has the same numbers.
    pub(in crate::checkpoint) const fn form(self) -> CheckpointForm {
        match self {
            Self::Mxfp4 | Self::CompressedMxfp4 | Self::Original | Self::Gguf => {
                CheckpointForm::Mxfp4
            }
            Self::Nvfp4 | Self::CompressedNvfp4 => CheckpointForm::Nvfp4,
            Self::Bf16 => CheckpointForm::Bf16,
        }
    }

    /// What is reported of programs that do not serve this form of gpt-oss; none where nothing is.
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Self::Nvfp4 => Some(
                "vLLM 0.33 refuses NVFP4 experts of gpt-oss (KeyError w2_bias), SGLang 0.5.23 skips their scales and \
                 answers with noise, transformers 5.24 refuses them, TensorRT-LLM reads them in later revisions only: \
                 generate with this project, or deploy MXFP4",
            ),
            Self::CompressedMxfp4 | Self::CompressedNvfp4 => Some(
                "no engine serves gpt-oss with one compressed tensor per expert: vLLM 0.33 refuses it (KeyError w2_bias), \
                 SGLang 0.5.23 and transformers 5.24 load it without experts and answer with noise; compressed-tensors \
                 itself reads it: deploy MXFP4",
            ),
            Self::Original => Some(
                "OpenAI's reference programs and this project read these names; vLLM 0.33 refuses them, SGLang 0.5.23 \
                 and transformers 5.24 load them without experts and answer with noise",
            ),
            Self::Mxfp4 | Self::Bf16 | Self::Gguf => None,
        }
    }
}

impl std::fmt::Display for ConvertTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
