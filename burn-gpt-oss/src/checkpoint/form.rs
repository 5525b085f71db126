//! The forms of a checkpoint: which stored tensors a parameter has in each of them.
//!
//! Reader, loader, planner and writer ask here. Another form is another variant of [`CheckpointForm`],
//! its tensors in [`CheckpointForm::stored`] and their bytes in [`CheckpointForm::parts`], and a decoder in `packed.rs`.

mod config;
mod stored;

pub(super) use stored::{Part, StoredTensor, input_scale};

use burn_fp4::layout::modelopt;
use burn_fp4::{
    ActivationFormat, Fp4Error, Fp4Scheme, GlobalScope, Nvfp4BlockSize, PackedFp4, e4m3, e8m0,
};
use safetensors::Dtype;
use serde_json::Value;
use stored::{blocks_and_scales, codes_and_two_scales};

use super::names::{TensorLayout, TensorSpec};
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// How the expert matrices of a checkpoint are stored; everything else is BF16 in all forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointForm {
    /// `_blocks` and `_scales`, 4.25 bits per weight: the published form.
    Mxfp4,
    /// Codes, `_weight_scale` and `_weight_scale_2`, 4.5 bits per weight: what ModelOpt writes, its weight-only
    /// variant.
    Nvfp4,
    /// The same with `_input_scale`, the global scale that the inputs of a matrix are rounded to NVFP4 with (W4A4).
    #[serde(rename = "nvfp4_w4a4")]
    Nvfp4W4A4,
    /// Dense `[experts, in, out]`.
    Bf16,
}

/// Weights of a block of MXFP4, and its bytes of codes.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 16;
/// Weights of a block of NVFP4.
const NVFP4_BLOCK: usize = 16;
/// Suffix of the global scale of a matrix's inputs, as ModelOpt writes it.
const INPUT_SCALE: &str = "input_scale";

impl CheckpointForm {
    const ALL: [Self; 4] = [Self::Mxfp4, Self::Nvfp4, Self::Nvfp4W4A4, Self::Bf16];

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
            (Self::Nvfp4, TensorLayout::Experts) => codes_and_two_scales(spec),
            (Self::Nvfp4W4A4, TensorLayout::Experts) => {
                let mut stored = codes_and_two_scales(spec)?;
                stored.push(input_scale(spec));
                Ok(stored)
            }
            (_, _) => Ok(vec![StoredTensor {
                name: spec.name.clone(),
                shape: spec.file_shape(),
                part: Part::Dense,
                dtype: Dtype::BF16,
            }]),
        }
    }

    /// The form of one parameter in files of which `has` knows the tensors. Checkpoints may mix them.
    pub(super) fn of(spec: &TensorSpec, has: impl Fn(&str) -> bool) -> Self {
        let has = |suffix| has(&format!("{}_{suffix}", spec.name));
        match spec.layout {
            TensorLayout::Experts if has("blocks") => Self::Mxfp4,
            TensorLayout::Experts if has(modelopt::WEIGHT_SCALE) => match has(INPUT_SCALE) {
                true => Self::Nvfp4W4A4,
                false => Self::Nvfp4,
            },
            _ => Self::Bf16,
        }
    }

    /// The scheme of matrices that are packed in this form.
    pub(super) fn scheme(self) -> Option<Fp4Scheme> {
        match self {
            Self::Mxfp4 => Some(Fp4Scheme::mxfp4()),
            Self::Nvfp4 | Self::Nvfp4W4A4 => Some(Fp4Scheme::nvfp4()),
            Self::Bf16 => None,
        }
    }

    /// The form that holds matrices in a scheme as they are.
    pub fn of_scheme(scheme: Fp4Scheme) -> Option<Self> {
        let packed = [Self::Mxfp4, Self::Nvfp4];
        packed.into_iter().find(|form| form.holds(scheme))
    }

    /// The form that also holds what the inputs of the matrices are rounded with.
    pub fn with_input_scales(self) -> Option<Self> {
        match self {
            Self::Nvfp4 | Self::Nvfp4W4A4 => Some(Self::Nvfp4W4A4),
            Self::Mxfp4 | Self::Bf16 => None,
        }
    }

    /// What the inputs of the matrices are rounded to.
    pub(super) fn inputs(self) -> Option<ActivationFormat> {
        let format = ActivationFormat::Fp4(Fp4Scheme::nvfp4());
        (self == Self::Nvfp4W4A4).then_some(format)
    }

    /// Whether a byte of its scales means NaN.
    pub(super) fn is_nan_scale(self, byte: u8) -> bool {
        match self {
            Self::Mxfp4 => byte == e8m0::NAN,
            Self::Nvfp4 | Self::Nvfp4W4A4 => e4m3::decode(byte).is_nan(),
            Self::Bf16 => false,
        }
    }

    /// Whether a byte of its scales is zero.
    pub(super) fn is_zero_scale(self, byte: u8) -> bool {
        matches!(self, Self::Nvfp4 | Self::Nvfp4W4A4) && byte & 0x7f == 0
    }

    /// Whether codes times this scale may be beyond float32.
    pub(super) fn may_overflow(self, byte: u8) -> bool {
        match self {
            Self::Mxfp4 => byte >= e8m0::NAN - 2,
            // The global scale decides: matrices whose values overflow are found by it.
            _ => false,
        }
    }

    /// Whether a byte of its scales is the largest one. In NVFP4 the block with the largest weight has it.
    pub(super) fn is_largest_scale(self, byte: u8) -> bool {
        self == Self::Mxfp4 && byte == e8m0::NAN - 1
    }

    /// Codes, block scales and global scale of a matrix `[experts, out, in]`, as the form has their bytes; none where it
    /// has no such tensor.
    pub(super) fn parts(self, packed: PackedFp4) -> Result<[Vec<u8>; 3], Fp4Error> {
        match self {
            Self::Nvfp4 | Self::Nvfp4W4A4 => {
                let parts = modelopt::to_fused_experts(&packed)?;
                let global = parts.weight_scale_2.data.iter();
                let global = global.flat_map(|scale| scale.to_le_bytes()).collect();
                Ok([parts.weight.data, parts.weight_scale.data, global])
            }
            Self::Mxfp4 | Self::Bf16 => {
                let (codes, scales) = packed.into_parts();
                Ok([codes, scales, Vec::new()])
            }
        }
    }

    /// Whether matrices in a scheme have a place in this form. Scale rules are no part of what is stored.
    pub(super) fn holds(self, scheme: Fp4Scheme) -> bool {
        match self {
            Self::Mxfp4 => matches!(scheme, Fp4Scheme::Mxfp4 { .. }),
            Self::Nvfp4 | Self::Nvfp4W4A4 => matches!(
                scheme,
                Fp4Scheme::Nvfp4 {
                    block_size: Nvfp4BlockSize::Sixteen,
                    global_scope: GlobalScope::Tensor,
                    ..
                }
            ),
            // They are decoded.
            Self::Bf16 => true,
        }
    }

    /// Bytes of all tensors of a model in this form.
    pub fn bytes(self, config: &GptOssConfig) -> u64 {
        let experts = config.num_expert_weights();
        let experts = match self {
            Self::Mxfp4 => experts / BLOCK as u64 * (BLOCK_BYTES as u64 + 1),
            Self::Nvfp4 | Self::Nvfp4W4A4 => {
                let matrices = 2 * config.num_hidden_layers as u64;
                let scales = 1 + u64::from(self == Self::Nvfp4W4A4);
                experts / 2 + experts / NVFP4_BLOCK as u64 + 4 * scales * matrices
            }
            Self::Bf16 => 2 * experts,
        };
        experts + 2 * config.num_dense_weights()
    }
}

impl std::fmt::Display for CheckpointForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mxfp4 => "MXFP4",
            Self::Nvfp4 => "NVFP4",
            Self::Nvfp4W4A4 => "NVFP4 W4A4",
            Self::Bf16 => "BF16",
        })
    }
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
        // 597,196,800 blocks of MXFP4 are twice as many of NVFP4.
        let nvfp4 = 10_152_345_600 + 597_196_800 + 4 * 48 + 3_608_919_168;
        assert_eq!(CheckpointForm::Nvfp4.bytes(&small), nvfp4);
    }

    #[test]
    fn bytes_are_those_of_the_stored_tensors() {
        let config = GptOssConfig::gpt_oss_20b();
        for form in CheckpointForm::ALL {
            let stored = |spec: &TensorSpec| form.stored(spec).expect("whole blocks");
            let specs = super::super::tensor_specs(&config);
            let tensors = specs.iter().flat_map(stored);
            let n_bytes = |tensor: StoredTensor| {
                let elements: usize = tensor.shape.iter().product();
                (elements * tensor.dtype.bitsize() / 8) as u64
            };
            let total: u64 = tensors.map(n_bytes).sum();
            assert_eq!(total, form.bytes(&config), "{form}");
        }
    }
}
