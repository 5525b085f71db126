//! Fake quantization against the copy of the same bytes.
//!
//! Both read every byte once and write every byte once, so the copy is the floor. Floors to hold,
//! as a share of the `copy` throughput beside it: 60 % in f32, 40 % in bf16. `into_*` writes to
//! memory that exists, `fresh_*` allocates its result as the tensor operation does and pays for
//! the page faults like the fresh copy.
//!
//! `cargo bench --bench fake_quantize`; the GB/s count bytes read plus bytes written.

#![allow(clippy::unwrap_used)]

use burn_fp4::{Fp4Element, Fp4Scheme, fake_quantize_into, fake_quantize_slice};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use half::bf16;
use half::vec::HalfBitsVecExt;
use rayon::prelude::*;

fn main() {
    divan::main();
}

/// A linear layer quantized along its last axis, and expert weights `[E, in, out]` of the
/// gpt-oss-20b width along `in` (4 of the 32 experts).
#[derive(Clone, Copy, Debug)]
enum Case {
    Last,
    Axis1,
}

impl Case {
    fn shape(self) -> (&'static [usize], usize) {
        match self {
            Self::Last => (&[5760, 2880], 1),
            Self::Axis1 => (&[4, 2880, 5760], 1),
        }
    }
}

const CASES: [Case; 2] = [Case::Last, Case::Axis1];

trait Float: Fp4Element {
    fn of(value: f32) -> Self;
    /// Zeros from the allocator, without writing them.
    fn allocate(n_elements: usize) -> Vec<Self>;
}

impl Float for f32 {
    fn of(value: f32) -> Self {
        value
    }

    fn allocate(n_elements: usize) -> Vec<Self> {
        vec![0.0; n_elements]
    }
}

impl Float for bf16 {
    fn of(value: f32) -> Self {
        bf16::from_f32(value)
    }

    fn allocate(n_elements: usize) -> Vec<Self> {
        vec![0u16; n_elements].reinterpret_into()
    }
}

fn values<T: Float>(case: Case) -> Vec<T> {
    let n_elements: usize = case.shape().0.iter().product();
    let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 32_768.0 - 1.0;
    (0..n_elements)
        .into_par_iter()
        .map(|i| T::of(value(i)))
        .collect()
}

fn bytes_moved<T>(values: &[T]) -> BytesCount {
    BytesCount::new(2 * size_of_val(values))
}

fn copy_in_parallel<T: Float>(values: &[T], out: &mut [T]) {
    // The chunk size of the quantizer, so that both have the same number of tasks.
    let chunks = values.par_chunks(1 << 15).zip(out.par_chunks_mut(1 << 15));
    chunks.for_each(|(values, out)| out.copy_from_slice(values));
}

#[divan::bench(types = [f32, bf16], args = CASES, sample_count = 20)]
fn into_copy<T: Float>(bencher: Bencher, case: Case) {
    let values = values::<T>(case);
    let mut out = values.clone();
    let bencher = bencher.counter(bytes_moved(&values));
    bencher.bench_local(|| copy_in_parallel(black_box(&values), &mut out));
}

#[divan::bench(types = [f32, bf16], args = CASES, sample_count = 20)]
fn into_fake_quantize<T: Float>(bencher: Bencher, case: Case) {
    let (shape, axis) = case.shape();
    let values = values::<T>(case);
    let mut out = values.clone();
    let scheme = Fp4Scheme::mxfp4();
    let bencher = bencher.counter(bytes_moved(&values));
    bencher.bench_local(|| {
        fake_quantize_into(black_box(&values), shape, axis, &scheme, &mut out).unwrap();
    });
}

#[divan::bench(types = [f32, bf16], args = CASES, sample_count = 20)]
fn fresh_copy<T: Float>(bencher: Bencher, case: Case) {
    let values = values::<T>(case);
    let bencher = bencher.counter(bytes_moved(&values));
    bencher.bench_local(|| {
        let mut out = T::allocate(values.len());
        copy_in_parallel(black_box(&values), &mut out);
        out
    });
}

#[divan::bench(types = [f32, bf16], args = CASES, sample_count = 20)]
fn fresh_fake_quantize<T: Float>(bencher: Bencher, case: Case) {
    let (shape, axis) = case.shape();
    let values = values::<T>(case);
    let scheme = Fp4Scheme::mxfp4();
    let bencher = bencher.counter(bytes_moved(&values));
    bencher.bench_local(|| fake_quantize_slice(black_box(&values), shape, axis, &scheme).unwrap());
}
