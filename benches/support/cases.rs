//! The tensors that kernels are measured on.

use burn_fp4::Fp4Element;
use half::bf16;
use half::vec::HalfBitsVecExt;
use rayon::prelude::*;

/// A shape and the axis its blocks run along.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub shape: &'static [usize],
    pub axis: usize,
}

/// An expert matrix of gpt-oss-20b as a checkpoint stores it, and all 32 of a layer as they are
/// trained: `[experts, in, out]`, blocks along `in`.
pub const CASES: [Case; 2] = [
    Case {
        name: "[5760, 2880] last axis",
        shape: &[5760, 2880],
        axis: 1,
    },
    Case {
        name: "[32, 2880, 5760] axis 1",
        shape: &[32, 2880, 5760],
        axis: 1,
    },
];

impl Case {
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Deterministic values, uniform in +-0.02.
    pub fn values<T: Float>(&self) -> Vec<T> {
        let value =
            |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 32_768.0 - 1.0;
        let indices = (0..self.n_elements()).into_par_iter();
        indices.map(|i| T::of(value(i) * 0.02)).collect()
    }
}

/// A float type to measure with.
pub trait Float: Fp4Element {
    const NAME: &'static str;
    fn of(value: f32) -> Self;
    /// Zeros from the allocator, without writing them.
    fn allocate(n_elements: usize) -> Vec<Self>;
}

impl Float for f32 {
    const NAME: &'static str = "f32";

    fn of(value: f32) -> Self {
        value
    }

    fn allocate(n_elements: usize) -> Vec<Self> {
        vec![0.0; n_elements]
    }
}

impl Float for bf16 {
    const NAME: &'static str = "bf16";

    fn of(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn allocate(n_elements: usize) -> Vec<Self> {
        vec![0u16; n_elements].reinterpret_into()
    }
}

/// The floor of everything here: every byte read once and written once, on all threads.
pub fn copy<T: Float>(from: &[T], to: &mut [T]) {
    const CHUNK: usize = 1 << 15;
    let chunks = from.par_chunks(CHUNK).zip(to.par_chunks_mut(CHUNK));
    chunks.for_each(|(from, to)| to.copy_from_slice(from));
}
