//! AdamW whose weights and moments take few bytes.

#[cfg(feature = "flex")]
mod codec;
#[cfg(feature = "_cube")]
mod cube;
#[cfg(feature = "flex")]
mod extension;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod parts;

#[cfg(feature = "flex")]
pub use extension::{CompactAdamWBackend, CompactPrimitive};

use burn::tensor::{DType, Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::AdamWFactors;

/// Elements of a group of moments, which share a scale.
pub const MOMENT_GROUP: usize = 32;

/// What a matrix is kept in between two steps: 16 bits that the model computes with, and what else of a float32 number
/// the optimizer remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Masters {
    /// Float32, 4 bytes; the model computes with all of it.
    F32,
    /// Float32 in two parts, 4 bytes: bfloat16, half-way cases away from zero, that the model computes with, and the
    /// 16 bits that it lacks.
    Split32,
    /// The first 24 bits of float32 in two parts, 3 bytes: the same bfloat16 and 8 bits (FlashOptim, arXiv 2602.23349).
    #[default]
    Split24,
    /// Bfloat16, 2 bytes. What a step lacks to the next number decides how probable it is that it is taken
    /// (stochastic rounding), by a counter and the seed of the run.
    Bf16,
}

/// What the two moments of a matrix are kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moments {
    /// Float32, 8 bytes for both.
    F32,
    /// 8 bits each in groups of 32, 2.1875 bytes for both: the first moment companded, with a bfloat16 scale, of the second the root, with
    /// one in float32 (FlashOptim, arXiv 2602.23349). A narrower one would round back what a decay of 0.999 takes from it.
    #[default]
    Companded8,
}

/// How a matrix is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactFormat {
    /// The matrix.
    pub masters: Masters,
    /// Its moments.
    pub moments: Moments,
}

impl CompactFormat {
    /// What small parameters are kept in.
    pub const F32: Self = Self {
        masters: Masters::F32,
        moments: Moments::F32,
    };

    /// The type that the model computes with.
    pub fn weight_dtype(self) -> DType {
        match self.masters {
            Masters::F32 => DType::F32,
            Masters::Split32 | Masters::Split24 | Masters::Bf16 => DType::BF16,
        }
    }

    /// Bytes of so many weights with their moments.
    pub fn bytes(self, n_weights: u64) -> u64 {
        self.weight_bytes(n_weights) + self.optimizer_bytes(n_weights)
    }

    /// Those that the model has.
    pub fn weight_bytes(self, n_weights: u64) -> u64 {
        n_weights * self.weight_dtype().size() as u64
    }

    /// Those that the optimizer has: moments, and what the model lacks.
    pub fn optimizer_bytes(self, n_weights: u64) -> u64 {
        let moments = match self.moments {
            Moments::F32 => 8 * n_weights,
            Moments::Companded8 => 2 * n_weights + 6 * n_weights.div_ceil(MOMENT_GROUP as u64),
        };
        self.remainder_bytes(n_weights) + moments
    }

    /// Those of what the model lacks.
    pub fn remainder_bytes(self, n_weights: u64) -> u64 {
        match self.masters {
            Masters::F32 | Masters::Bf16 => 0,
            Masters::Split32 => 2 * n_weights,
            Masters::Split24 => n_weights,
        }
    }
}

/// What the optimizer keeps of one parameter. A part that the format has no use for is empty.
#[derive(Clone, Debug)]
pub struct CompactState {
    /// Steps done.
    pub time: usize,
    /// The bits that the weight lacks: `U8` in [`Masters::Split24`], `U16` in [`Masters::Split32`].
    pub remainder: Tensor<1, Int>,
    /// Codes of the first moment, `U8`.
    pub codes_1: Tensor<1, Int>,
    /// Their scales, `BF16`; the first moment itself in float32.
    pub scales_1: Tensor<1>,
    /// Codes of the root of the second moment, `U8`.
    pub codes_2: Tensor<1, Int>,
    /// Their scales, `F32`; the second moment itself in float32.
    pub scales_2: Tensor<1>,
}

impl CompactState {
    /// The state before the first step.
    pub fn zeros(format: CompactFormat, n_weights: usize, device: &Device) -> Self {
        let bytes = |n: usize, dtype| Tensor::<1, Int>::zeros([n], (device, dtype));
        let (n_remainders, remainder) = match format.masters {
            Masters::F32 | Masters::Bf16 => (0, DType::U8),
            Masters::Split24 => (n_weights, DType::U8),
            Masters::Split32 => (n_weights, DType::U16),
        };
        let (n_codes, n_scales, scale) = match format.moments {
            Moments::F32 => (0, n_weights, DType::F32),
            Moments::Companded8 => (n_weights, n_weights.div_ceil(MOMENT_GROUP), DType::BF16),
        };
        let scales = |dtype| Tensor::<1>::zeros([n_scales], (device, dtype));
        Self {
            time: 0,
            remainder: bytes(n_remainders, remainder),
            codes_1: bytes(n_codes, DType::U8),
            scales_1: scales(scale),
            codes_2: bytes(n_codes, DType::U8),
            scales_2: scales(DType::F32),
        }
    }
}

/// What a step does besides that of [`AdamWFactors`].
#[derive(Clone, Copy, Debug)]
pub struct CompactStep {
    /// How weight and moments are kept.
    pub format: CompactFormat,
    /// The factors of the step.
    pub factors: AdamWFactors,
    /// What the gradient is multiplied with first, to clip it.
    pub coefficient: f32,
    /// Chooses the random bits of [`Masters::Bf16`].
    pub seed: u32,
}

/// One step of a parameter without autodiff, in one pass over its weight, gradient and state.
#[cfg(feature = "flex")]
pub(crate) fn step<const D: usize>(
    weight: Tensor<D>,
    grad: Tensor<D>,
    state: CompactState,
    step: CompactStep,
) -> (Tensor<D>, CompactState) {
    use burn::backend::Dispatch;

    let shape = weight.dims();
    let flat = [shape.iter().product::<usize>()];
    let time = state.time + 1;
    let updated = <Dispatch as CompactAdamWBackend>::compact_adamw(
        grad.reshape(flat).into_dispatch(),
        CompactPrimitive {
            weight: weight.reshape(flat).into_dispatch(),
            remainder: state.remainder.into_dispatch(),
            codes_1: state.codes_1.into_dispatch(),
            scales_1: state.scales_1.into_dispatch(),
            codes_2: state.codes_2.into_dispatch(),
            scales_2: state.scales_2.into_dispatch(),
        },
        step,
    );
    let state = CompactState {
        time,
        remainder: Tensor::from_dispatch(updated.remainder),
        codes_1: Tensor::from_dispatch(updated.codes_1),
        scales_1: Tensor::from_dispatch(updated.scales_1),
        codes_2: Tensor::from_dispatch(updated.codes_2),
        scales_2: Tensor::from_dispatch(updated.scales_2),
    };
    let weight: Tensor<1> = Tensor::from_dispatch(updated.weight);
    (weight.reshape(shape), state)
}
