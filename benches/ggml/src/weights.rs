//! The weights of a layer of gpt-oss, with random bytes.

use burn_fp4::{Fp4Scheme, PackedMatrix};

/// Matrices: far more bytes than caches have.
pub const N_EXPERTS: usize = 32;
/// Outputs of the first linear layer of an expert.
pub const D_OUTPUT: usize = 5760;
/// Its inputs.
pub const D_INPUT: usize = 2880;

/// Matrices in one format, as a checkpoint has them.
pub struct Weights {
    scheme: Fp4Scheme,
    codes: Vec<u8>,
    scales: Vec<u8>,
}

impl Weights {
    pub fn mxfp4() -> Self {
        Self::new(Fp4Scheme::mxfp4(), 118)
    }

    pub fn nvfp4() -> Self {
        Self::new(Fp4Scheme::nvfp4(), 48)
    }

    fn new(scheme: Fp4Scheme, scale: u8) -> Self {
        let n = N_EXPERTS * D_OUTPUT * D_INPUT;
        let byte = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 37;
        Self {
            scheme,
            codes: (0..n / 2).map(|i| byte(i) as u8).collect(),
            scales: (0..n / scheme.block_size())
                .map(|i| scale + byte(i) as u8 % 7)
                .collect(),
        }
    }

    /// Bytes of all matrices.
    pub fn n_bytes(&self) -> usize {
        self.codes.len() + self.scales.len()
    }

    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.codes, &self.scales]
    }

    /// Codes and scale bytes of one matrix.
    pub fn expert(&self, expert: usize) -> [&[u8]; 2] {
        self.parts().map(|bytes| {
            let len = bytes.len() / N_EXPERTS;
            &bytes[expert * len..][..len]
        })
    }

    pub fn matrix(&self, expert: usize) -> PackedMatrix<'_> {
        let [codes, scales] = self.expert(expert);
        let shape = [D_OUTPUT, D_INPUT];
        PackedMatrix::new(self.scheme, shape, codes, scales, 1.0).expect("bytes fit")
    }
}

/// Rows `[n, D_INPUT]` of activations.
pub fn activations(n_rows: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.5 - 1.0;
    (0..n_rows * D_INPUT).map(value).collect()
}
