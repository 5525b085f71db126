//! The tensors that a form has in a file.

use burn_fp4::layout::modelopt;
use safetensors::Dtype;

use super::{BLOCK, BLOCK_BYTES, INPUT_SCALE, NVFP4_BLOCK};
use crate::checkpoint::names::TensorSpec;
use crate::error::GptOssError;

/// What of a parameter a stored tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) enum Part {
    /// All of it, as floats.
    Dense,
    /// FP4 codes, two per byte.
    Codes,
    /// The block scales.
    Scales,
    /// What multiplies all block scales.
    GlobalScale,
    /// The global scale of the inputs of a matrix.
    InputScale,
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct StoredTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub part: Part,
    /// The element type that is written.
    pub dtype: Dtype,
}

impl StoredTensor {
    /// The element types that are read.
    pub fn readable(&self) -> &[Dtype] {
        match self.part {
            Part::Dense => &[Dtype::BF16, Dtype::F16, Dtype::F32],
            _ => std::slice::from_ref(&self.dtype),
        }
    }

    /// Whether a tensor of this shape is read. There may be a global scale for each of `experts`.
    pub fn has_shape(&self, found: &[usize], experts: usize) -> bool {
        match self.part {
            Part::GlobalScale => found.is_empty() || found == [1] || found == [experts],
            Part::InputScale => found.is_empty() || found == [1],
            Part::Dense | Part::Codes | Part::Scales => found == self.shape,
        }
    }
}

/// Blocks along the inputs: `[experts, out, in / 32, 16]` and `[experts, out, in / 32]`.
pub(super) fn blocks_and_scales(spec: &TensorSpec) -> Result<Vec<StoredTensor>, GptOssError> {
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
pub(super) fn codes_and_two_scales(spec: &TensorSpec) -> Result<Vec<StoredTensor>, GptOssError> {
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

/// One number.
pub(in crate::checkpoint) fn input_scale(spec: &TensorSpec) -> StoredTensor {
    StoredTensor {
        name: format!("{}_{INPUT_SCALE}", spec.name),
        shape: Vec::new(),
        part: Part::InputScale,
        dtype: Dtype::F32,
    }
}
