//! Inputs for kernels: every kind of number, and what sits at the edges of rounding.
#![allow(dead_code)] // Every test binary uses a part of it.

use burn::tensor::{DType, TensorData};
use half::{bf16, f16};

/// Numbers from a seed, the same everywhere (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    pub fn below(&mut self, n: u32) -> u32 {
        self.bits() % n
    }

    /// Between -1 and 1.
    pub fn unit(&mut self) -> f32 {
        self.bits() as f32 / u32::MAX as f32 * 2.0 - 1.0
    }
}

/// `f32` numbers, in groups of 32 of one kind.
pub fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut out = Vec::with_capacity(n + 32);
    while out.len() < n {
        let kind = random.below(10);
        let exponent = random.below(250);
        out.extend((0..32).map(|_| number(kind, exponent, &mut random)));
    }
    out.truncate(n);
    out
}

/// Midpoints of the grid of E2M1, and the values themselves.
const EDGES: [f32; 16] = [
    0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 7.0,
];

fn number(kind: u32, exponent: u32, random: &mut Random) -> f32 {
    let sign = random.bits() & 0x8000_0000;
    let mantissa = random.bits() & 0x007f_ffff;
    let near = |value: f32, random: &mut Random| {
        let step = random.below(5) as i32 - 2;
        (value.to_bits() as i32).saturating_add(step).max(0) as u32
    };
    let magnitude = match kind {
        0 => 0,
        1 => mantissa,                         // subnormal
        2 => random.below(5) << 23 | mantissa, // close to it
        3 => 0x7e00_0000 | mantissa << 1,      // large, infinite, NaN
        4 => random.bits() & 0x7fff_ffff,      // anything
        5 | 6 => {
            let edge = EDGES[random.below(16) as usize];
            near(edge * 2f32.powi(exponent as i32 / 4 - 30), random)
        }
        7 => (exponent + random.below(4)) << 23 | mantissa,
        8 => near(EDGES[random.below(16) as usize], random),
        _ => random.unit().abs().to_bits(),
    };
    f32::from_bits(magnitude | sign)
}

/// The numbers in a dtype. Narrow types keep the upper half of the bits: every pattern occurs.
pub fn data(values: &[f32], shape: &[usize], dtype: DType) -> TensorData {
    let upper = |x: &f32| (x.to_bits() >> 16) as u16;
    match dtype {
        DType::F32 => TensorData::new(values.to_vec(), shape),
        DType::BF16 => {
            let narrow = values.iter().map(|x| bf16::from_bits(upper(x)));
            TensorData::new(narrow.collect::<Vec<_>>(), shape)
        }
        DType::F16 => {
            let narrow = values.iter().map(|x| f16::from_bits(upper(x)));
            TensorData::new(narrow.collect::<Vec<_>>(), shape)
        }
        other => panic!("no case in {other:?}"),
    }
}

/// All bits the same, those of NaN included.
pub fn assert_same_bits(found: &TensorData, expected: &TensorData, what: &str) {
    assert_eq!(found.dtype(), expected.dtype(), "{what}: dtype");
    assert_eq!(found.shape(), expected.shape(), "{what}: shape");
    let size = found.dtype().size();
    let pairs = found
        .as_bytes()
        .chunks(size)
        .zip(expected.as_bytes().chunks(size));
    let mut wrong = pairs
        .enumerate()
        .filter(|(_, (found, expected))| found != expected);
    if let Some((i, (found, expected))) = wrong.next() {
        let more = wrong.count();
        panic!("{what}: element {i} is {found:02x?}, expected {expected:02x?}; and {more} more");
    }
}
