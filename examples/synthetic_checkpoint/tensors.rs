//! Random tensors of the published types, made when they are written.

use std::borrow::Cow;

use burn_gpt_oss::{GptOssConfig, TensorLayout, TensorSpec, tensor_specs};
use rayon::prelude::*;
use safetensors::{Dtype, View};

/// One tensor of a file.
pub struct RandomTensor {
    pub name: String,
    kind: Kind,
    shape: Vec<usize>,
    seed: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Two codes per byte, all equally likely.
    Blocks,
    /// E8M0 bytes of 2^-9 to 2^-7, as the published weights have mostly.
    Scales,
    /// Magnitudes from 2^-8 to 2^-5.
    Weights,
    /// Ones.
    Norm,
}

/// Elements that are made by one thread at a time.
const CHUNK: usize = 1 << 20;

impl RandomTensor {
    /// All tensors of an MXFP4 checkpoint.
    pub fn of(config: &GptOssConfig, seed: u64) -> Vec<Self> {
        let specs = tensor_specs(config);
        let mut tensors: Vec<Self> = specs.iter().flat_map(stored).collect();
        for (tensor, number) in tensors.iter_mut().zip(1..) {
            tensor.seed = seed
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(number);
        }
        tensors
    }

    pub fn n_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype().bitsize() / 8
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.n_bytes()];
        let chunks = bytes.par_chunks_mut(CHUNK).enumerate();
        chunks.for_each(|(i, chunk)| {
            let mut random = SplitMix(self.seed ^ ((i as u64) << 40));
            for word in chunk.chunks_mut(8) {
                let value = self.kind.shaped(random.next()).to_le_bytes();
                word.copy_from_slice(&value[..word.len()]);
            }
        });
        bytes
    }
}

impl View for RandomTensor {
    fn dtype(&self) -> Dtype {
        match self.kind {
            Kind::Blocks | Kind::Scales => Dtype::U8,
            Kind::Weights | Kind::Norm => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.bytes())
    }

    fn data_len(&self) -> usize {
        self.n_bytes()
    }
}

impl Kind {
    /// Eight random bytes as eight elements of one byte or four of two.
    fn shaped(self, random: u64) -> u64 {
        match self {
            Self::Blocks => random,
            // 118 and 119, with 120 for a quarter.
            Self::Scales => {
                let bit = |shift: u32| (random >> shift) & 0x0101_0101_0101_0101;
                118 * 0x0101_0101_0101_0101 + bit(0) + (bit(1) & bit(2))
            }
            // Sign and mantissa at random, exponents 119 to 122.
            Self::Weights => {
                let exponents = (119 << 7) * 0x0001_0001_0001_0001;
                (random & 0x807f_807f_807f_807f)
                    + exponents
                    + ((random >> 1) & 0x0180_0180_0180_0180)
            }
            Self::Norm => 0x3f80_3f80_3f80_3f80,
        }
    }
}

/// The tensors that store one parameter.
fn stored(spec: &TensorSpec) -> Vec<RandomTensor> {
    let tensor = |name: String, kind, shape| RandomTensor {
        name,
        kind,
        shape,
        seed: 0,
    };
    if spec.layout == TensorLayout::Experts {
        let packed = spec.packed_shape();
        let scales = vec![packed[0], packed[1], packed[2] / 32];
        let blocks = [scales.as_slice(), &[16]].concat();
        return vec![
            tensor(format!("{}_blocks", spec.name), Kind::Blocks, blocks),
            tensor(format!("{}_scales", spec.name), Kind::Scales, scales),
        ];
    }
    let kind = match spec.path.ends_with("norm.weight") {
        true => Kind::Norm,
        false => Kind::Weights,
    };
    vec![tensor(spec.name.clone(), kind, spec.file_shape())]
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
