//! The forms of a checkpoint: which stored tensors a parameter has in each of them.
//!
//! Reader, loader, planner and writer ask here. Another form is another variant of [`CheckpointForm`],
//! its tensors in [`CheckpointForm::stored`] and their bytes in [`CheckpointForm::parts`], and a decoder in `packed.rs`.

use burn_fp4::layout::modelopt;
use burn_fp4::{Fp4Error, Fp4Scheme, GlobalScope, Nvfp4BlockSize, PackedFp4, e4m3, e8m0};
use safetensors::Dtype;
use serde_json::{Value, json};

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
    /// Dense `[experts, in, out]`.
    Bf16,
}

/// What of a parameter a stored tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it, as floats.
    Dense,
    /// FP4 codes, two per byte.
    Codes,
    /// The block scales.
    Scales,
    /// What multiplies all block scales.
    GlobalScale,
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub part: Part,
    /// The element type that is written.
    pub dtype: Dtype,
}

/// Weights of a block of MXFP4, and its bytes of codes.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 16;
/// Weights of a block of NVFP4.
const NVFP4_BLOCK: usize = 16;

impl CheckpointForm {
    const ALL: [Self; 3] = [Self::Mxfp4, Self::Nvfp4, Self::Bf16];

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
            (Self::Mxfp4 | Self::Nvfp4 | Self::Bf16, _) => Ok(vec![StoredTensor {
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
            TensorLayout::Experts if has(modelopt::WEIGHT_SCALE) => Self::Nvfp4,
            _ => Self::Bf16,
        }
    }

    /// The scheme of matrices that are packed in this form.
    pub(super) fn scheme(self) -> Option<Fp4Scheme> {
        match self {
            Self::Mxfp4 => Some(Fp4Scheme::mxfp4()),
            Self::Nvfp4 => Some(Fp4Scheme::nvfp4()),
            Self::Bf16 => None,
        }
    }

    /// The form that holds matrices in a scheme as they are.
    pub fn of_scheme(scheme: Fp4Scheme) -> Option<Self> {
        let packed = [Self::Mxfp4, Self::Nvfp4];
        packed.into_iter().find(|form| form.holds(scheme))
    }

    /// Whether a byte of its scales means NaN.
    pub(super) fn is_nan_scale(self, byte: u8) -> bool {
        match self {
            Self::Mxfp4 => byte == e8m0::NAN,
            Self::Nvfp4 => e4m3::decode(byte).is_nan(),
            Self::Bf16 => false,
        }
    }

    /// Codes, block scales and global scale of a matrix `[experts, out, in]`, as the form has their bytes; none where it
    /// has no such tensor.
    pub(super) fn parts(self, packed: PackedFp4) -> Result<[Vec<u8>; 3], Fp4Error> {
        match self {
            Self::Nvfp4 => {
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
            Self::Nvfp4 => matches!(
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

    /// The `quantization_config` by which loaders know the form: that of the published checkpoints, or of ModelOpt.
    pub fn quantization_config(self) -> Option<Value> {
        match self {
            Self::Mxfp4 => Some(json!({
                "modules_to_not_convert": DENSE_MODULES,
                "quant_method": "mxfp4",
            })),
            Self::Nvfp4 => {
                let number = json!({"dynamic": false, "num_bits": 4, "type": "float", "group_size": NVFP4_BLOCK});
                Some(json!({
                    "config_groups": {"group_0": {"weights": number, "targets": ["Linear"]}},
                    "ignore": DENSE_MODULES,
                    "quant_algo": QUANT_ALGO,
                    "producer": producer(),
                    "quant_method": "modelopt",
                }))
            }
            Self::Bf16 => None,
        }
    }

    /// The `hf_quant_config.json` that ModelOpt writes beside `config.json`, for loaders that read it in place of
    /// [`quantization_config`](Self::quantization_config).
    pub(super) fn hf_quant_config(self) -> Option<Value> {
        match self {
            Self::Nvfp4 => Some(json!({
                "producer": producer(),
                "quantization": {
                    "quant_algo": QUANT_ALGO,
                    "kv_cache_quant_algo": null,
                    "group_size": NVFP4_BLOCK,
                    "exclude_modules": DENSE_MODULES,
                },
            })),
            Self::Mxfp4 | Self::Bf16 => None,
        }
    }

    /// Bytes of all tensors of a model in this form.
    pub fn bytes(self, config: &GptOssConfig) -> u64 {
        let experts = config.num_expert_weights();
        let experts = match self {
            Self::Mxfp4 => experts / BLOCK as u64 * (BLOCK_BYTES as u64 + 1),
            Self::Nvfp4 => {
                let matrices = 2 * config.num_hidden_layers as u64;
                experts / 2 + experts / NVFP4_BLOCK as u64 + 4 * matrices
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
            Self::Bf16 => "BF16",
        })
    }
}

/// What no form quantizes.
const DENSE_MODULES: [&str; 4] = [
    "model.layers.*.self_attn",
    "model.layers.*.mlp.router",
    "model.embed_tokens",
    "lm_head",
];

/// ModelOpt's name of NVFP4 weights beside activations in 16 bits.
const QUANT_ALGO: &str = "W4A16_NVFP4";

fn producer() -> Value {
    json!({"name": "burn-qat", "version": env!("CARGO_PKG_VERSION")})
}

impl StoredTensor {
    /// Bytes of the tensor as it is written.
    pub fn n_bytes(&self) -> u64 {
        let elements: usize = self.shape.iter().product();
        (elements * self.dtype.bitsize() / 8) as u64
    }

    /// The element types that are read.
    pub fn readable(&self) -> &[Dtype] {
        match self.part {
            Part::Dense => &[Dtype::BF16, Dtype::F16, Dtype::F32],
            Part::Codes | Part::Scales | Part::GlobalScale => std::slice::from_ref(&self.dtype),
        }
    }

    /// Whether a tensor of this shape is read. There may be a global scale for each of `experts`.
    pub fn has_shape(&self, found: &[usize], experts: usize) -> bool {
        match self.part {
            Part::GlobalScale => found.is_empty() || found == [1] || found == [experts],
            Part::Dense | Part::Codes | Part::Scales => found == self.shape,
        }
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
        dtype: Dtype::U8,
    };
    Ok(vec![
        tensor("blocks", blocks, Part::Codes),
        tensor("scales", scales, Part::Scales),
    ])
}

/// As [`modelopt`] has fused experts: `[experts, in / 2, out]`, `[experts, in / 16, out]` and one number.
fn codes_and_two_scales(spec: &TensorSpec) -> Result<Vec<StoredTensor>, GptOssError> {
    let shape = |divisor| {
        let mut shape = spec.shape.clone();
        shape[1] /= divisor;
        shape
    };
    if !spec.shape[1].is_multiple_of(NVFP4_BLOCK) {
        return Err(GptOssError::Config {
            key: "hidden_size / intermediate_size".into(),
            expected: format!(
                "multiples of {NVFP4_BLOCK} for the NVFP4 blocks of `{}`",
                spec.name
            ),
            found: spec.shape[1].to_string(),
        });
    }
    let tensor = |suffix: Option<&str>, shape, part, dtype| StoredTensor {
        name: suffix.map_or(spec.name.clone(), |suffix| {
            format!("{}_{suffix}", spec.name)
        }),
        shape,
        part,
        dtype,
    };
    let (scale, global) = (modelopt::WEIGHT_SCALE, modelopt::WEIGHT_SCALE_2);
    Ok(vec![
        tensor(None, shape(2), Part::Codes, Dtype::U8),
        tensor(
            Some(scale),
            shape(NVFP4_BLOCK),
            Part::Scales,
            Dtype::F8_E4M3,
        ),
        tensor(Some(global), vec![], Part::GlobalScale, Dtype::F32),
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
            let total: u64 = tensors.map(|tensor| tensor.n_bytes()).sum();
            assert_eq!(total, form.bytes(&config), "{form}");
        }
    }
}
