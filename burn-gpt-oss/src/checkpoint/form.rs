//! The forms of a checkpoint: which stored tensors a parameter has in each of them.
//!
//! Reader, loader, planner and writer ask here. Another form is another variant of [`CheckpointForm`],
//! its tensors in [`CheckpointForm::stored`], and an encoder and a decoder for their [`Part`]s.

use burn_fp4::{Fp4Scheme, e8m0};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::names::{TensorLayout, TensorSpec};
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// How the expert matrices of a checkpoint are stored; everything else is BF16 in both forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointForm {
    /// `_blocks` and `_scales`, 4.25 bits per weight: the published form.
    Mxfp4,
    /// Dense `[experts, in, out]`.
    Bf16,
}

/// What of a parameter a stored tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it, as floats.
    Dense,
    /// FP4 codes, two per byte.
    Blocks,
    /// The block scales.
    Scales,
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub part: Part,
}

/// Weights of a block of MXFP4, and its bytes of codes.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 16;

impl CheckpointForm {
    const ALL: [Self; 2] = [Self::Mxfp4, Self::Bf16];

    /// The values of `quant_method` in a `config.json` that are those of a form.
    pub(crate) fn quant_methods() -> impl Iterator<Item = Value> {
        let configs = Self::ALL.into_iter().filter_map(Self::quantization_config);
        configs.map(|config| config["quant_method"].clone())
    }

    /// The tensors that store a parameter.
    ///
    /// # Errors
    /// [`GptOssError::Config`] if its inputs are no whole blocks.
    pub(super) fn stored(self, spec: &TensorSpec) -> Result<Vec<StoredTensor>, GptOssError> {
        match (self, spec.layout) {
            (Self::Mxfp4, TensorLayout::Experts) => blocks_and_scales(spec),
            (Self::Mxfp4 | Self::Bf16, _) => Ok(vec![StoredTensor {
                name: spec.name.clone(),
                shape: spec.file_shape(),
                part: Part::Dense,
            }]),
        }
    }

    /// The form of one parameter in files of which `has` knows the tensors. Checkpoints may mix them.
    pub(super) fn of(spec: &TensorSpec, has: impl Fn(&str) -> bool) -> Self {
        let first = format!("{}_blocks", spec.name);
        match spec.layout == TensorLayout::Experts && has(&first) {
            true => Self::Mxfp4,
            false => Self::Bf16,
        }
    }

    /// The scheme of matrices that are packed in this form.
    pub(super) fn scheme(self) -> Option<Fp4Scheme> {
        match self {
            Self::Mxfp4 => Some(Fp4Scheme::mxfp4()),
            Self::Bf16 => None,
        }
    }

    /// Whether a byte of its scales means NaN.
    pub(super) fn is_nan_scale(self, byte: u8) -> bool {
        match self {
            Self::Mxfp4 => byte == e8m0::NAN,
            Self::Bf16 => false,
        }
    }

    /// Whether matrices in a scheme have a place in this form. Scale rules are no part of what is stored.
    pub(super) fn holds(self, scheme: Fp4Scheme) -> bool {
        match self {
            Self::Mxfp4 => matches!(scheme, Fp4Scheme::Mxfp4 { .. }),
            // They are decoded.
            Self::Bf16 => true,
        }
    }

    /// The `quantization_config` by which loaders know the form: that of the published checkpoints.
    pub fn quantization_config(self) -> Option<Value> {
        match self {
            Self::Mxfp4 => Some(json!({
                "modules_to_not_convert": [
                    "model.layers.*.self_attn",
                    "model.layers.*.mlp.router",
                    "model.embed_tokens",
                    "lm_head",
                ],
                "quant_method": "mxfp4",
            })),
            Self::Bf16 => None,
        }
    }

    /// Bytes of all tensors of a model in this form.
    pub fn bytes(self, config: &GptOssConfig) -> u64 {
        let experts = config.num_expert_weights();
        let experts = match self {
            Self::Mxfp4 => experts / BLOCK as u64 * (BLOCK_BYTES as u64 + 1),
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

impl Part {
    /// The element type that is written.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::Dense => Dtype::BF16,
            Self::Blocks | Self::Scales => Dtype::U8,
        }
    }

    /// The element types that are read.
    pub fn readable(self) -> &'static [Dtype] {
        match self {
            Self::Dense => &[Dtype::BF16, Dtype::F16, Dtype::F32],
            Self::Blocks | Self::Scales => &[Dtype::U8],
        }
    }
}

impl StoredTensor {
    /// Bytes of the tensor as it is written.
    pub fn n_bytes(&self) -> u64 {
        let elements: usize = self.shape.iter().product();
        (elements * self.part.dtype().bitsize() / 8) as u64
    }
}

/// Blocks along the inputs: `[experts, out, in / 32, 16]` and `[experts, out, in / 32]`.
fn blocks_and_scales(spec: &TensorSpec) -> Result<Vec<StoredTensor>, GptOssError> {
    let mut scales = spec.packed_shape();
    let d_input = scales[2];
    if !d_input.is_multiple_of(BLOCK) {
        return Err(GptOssError::Config {
            key: "hidden_size / intermediate_size".into(),
            expected: format!(
                "multiples of {BLOCK} for the MXFP4 blocks of `{}`",
                spec.name
            ),
            found: d_input.to_string(),
        });
    }
    scales[2] = d_input / BLOCK;
    let blocks = [scales.as_slice(), &[BLOCK_BYTES]].concat();
    let tensor = |suffix: &str, shape, part| StoredTensor {
        name: format!("{}_{suffix}", spec.name),
        shape,
        part,
    };
    Ok(vec![
        tensor("blocks", blocks, Part::Blocks),
        tensor("scales", scales, Part::Scales),
    ])
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

    #[test]
    fn bytes_are_those_of_the_stored_tensors() {
        let config = GptOssConfig::gpt_oss_20b();
        for form in [CheckpointForm::Mxfp4, CheckpointForm::Bf16] {
            let stored = |spec: &TensorSpec| form.stored(spec).expect("whole blocks");
            let specs = super::super::tensor_specs(&config);
            let tensors = specs.iter().flat_map(stored);
            let total: u64 = tensors.map(|tensor| tensor.n_bytes()).sum();
            assert_eq!(total, form.bytes(&config), "{form}");
        }
    }
}
