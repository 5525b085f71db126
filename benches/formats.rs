//! What every format and scale rule loses on random weights, and how fast it quantizes.
//!
//! `cargo bench --bench formats` prints one markdown table per distribution. The weights are the same
//! on every machine; the SQNR is that of the packed values against BF16 weights. The speeds, in
//! 10^9 elements per second, are the best of a few runs from BF16 to packed bytes (`quantize`) and of
//! the statistics alone (`stats`).

#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;
use std::hint::black_box;
use std::time::Instant;

use burn_fp4::{
    Fp4Scheme, GlobalScope, Nvfp4ScaleRule, PackedFp4, ScaleRule, SliceQuantizer, codes_changed,
};
use half::bf16;
use rayon::prelude::*;

/// Experts, columns and rows; blocks run along the rows. 16.8 million weights.
const SHAPE: [usize; 3] = [32, 128, 4096];
/// Weights drawn from one seed.
const CHUNK: usize = 4096;
/// Standard deviation of the normal weights, scale of the others.
const SIGMA: f64 = 0.02;
const RUNS: usize = 3;

fn main() {
    print_table("Normal, standard deviation 0.02", |random| random.normal());
    print_table("Student t, 5 degrees of freedom, times 0.02", |random| {
        let chi_squared: f64 = (0..5).map(|_| random.normal().powi(2)).sum();
        random.normal() / (chi_squared / 5.0).sqrt()
    });
    print_comparisons();
}

/// Speed of `codes_changed` on equal bytes, and on blocks that all differ.
fn print_comparisons() {
    let values = weights(|random| random.normal());
    let pack = |rule| {
        let scheme = Fp4Scheme::mxfp4_with(rule);
        PackedFp4::quantize(&values, &SHAPE, 2, scheme).unwrap()
    };
    let (ceil, mut turned) = (pack(ScaleRule::Ceil), pack(ScaleRule::Ceil).into_parts());
    turned.0.reverse();
    let turned = PackedFp4::from_parts(ceil.scheme(), SHAPE.to_vec(), turned.0, turned.1).unwrap();
    println!();
    for (name, other) in [
        ("the same", &ceil),
        ("Even", &pack(ScaleRule::Even)),
        ("its codes reversed", &turned),
    ] {
        let changes = codes_changed(&ceil, other).unwrap();
        let speed = speed(|| codes_changed(&ceil, other).unwrap());
        println!("Ceil against {name}: {changes}; {speed:.2} elements/ns");
    }
}

fn print_table(title: &str, draw: impl Fn(&mut Random) -> f64 + Sync) {
    let values = weights(draw);
    println!("\n{title}, {} BF16 weights\n", values.len());
    println!("| format | SQNR dB | saturated | became zero | quantize | stats |");
    println!("|---|--:|--:|--:|--:|--:|");
    for scheme in schemes() {
        let quantizer = SliceQuantizer::new(scheme);
        let stats = quantizer.stats(&values, &SHAPE, 2).unwrap();
        let quantize = speed(|| quantizer.quantize(&values, &SHAPE, 2).unwrap());
        let measure = speed(|| quantizer.stats(&values, &SHAPE, 2).unwrap());
        println!(
            "| {scheme} | {:.2} | {:.3} % | {:.2} % | {quantize:.3} | {measure:.3} |",
            stats.sqnr_db(),
            100.0 * stats.saturated_fraction(),
            100.0 * stats.zero_fraction(),
        );
    }
}

/// Every rule of both formats, and the variants of NVFP4.
fn schemes() -> Vec<Fp4Scheme> {
    use {Nvfp4ScaleRule as Nv, ScaleRule as Mx};
    let mx = [Mx::Ceil, Mx::Floor, Mx::Even, Mx::Mse].map(Fp4Scheme::mxfp4_with);
    let nv = [Nv::Nearest, Nv::FourOverSix, Nv::Mse].map(Fp4Scheme::nvfp4_with);
    let experts = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    let variants = [experts, Fp4Scheme::nvfp4_block32()];
    mx.into_iter().chain(nv).chain(variants).collect()
}

/// Elements per nanosecond in the best of a few runs.
fn speed<T>(run: impl Fn() -> T) -> f64 {
    let seconds = (0..RUNS).map(|_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed().as_secs_f64()
    });
    let n_elements: usize = SHAPE.iter().product();
    n_elements as f64 / seconds.fold(f64::INFINITY, f64::min) / 1e9
}

fn weights(draw: impl Fn(&mut Random) -> f64 + Sync) -> Vec<bf16> {
    let n_elements: usize = SHAPE.iter().product();
    let mut values = vec![bf16::ZERO; n_elements];
    let chunks = values.par_chunks_mut(CHUNK).enumerate();
    chunks.for_each(|(seed, chunk)| {
        let mut random = Random::new(seed as u64);
        chunk.fill_with(|| bf16::from_f64(SIGMA * draw(&mut random)));
    });
    values
}

/// SplitMix64: the same numbers with every version of every library.
struct Random {
    state: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self { state: seed };
        // Neighbouring seeds would give shifted copies of one sequence.
        random.state = random.bits();
        random
    }

    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `(0, 1)`.
    fn uniform(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Standard normal (Box and Muller, the cosine alone).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }
}
