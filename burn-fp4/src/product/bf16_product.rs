//! Products of a few rows with a bf16 matrix as it is stored.
//!
//! The time of such a product is the time of reading the matrix, which would double with every element
//! widened in memory. Instruction sets differ in the order in which they add, nothing else.

// Registers are in arrays that must not be iterated over, see `Lanes`.
#![allow(clippy::needless_range_loop)]

use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Portable};
use crate::simd::Kernel;

/// Elements between what is multiplied and what is asked of memory, at least: time enough for an answer at
/// the pace of a core.
const AHEAD: usize = 46 * LINE;

/// Elements of a cache line.
const LINE: usize = 32;

/// Registers of partial sums of one row with one output: an addition waits for the one before.
const CHAINS: usize = 8;

/// `out = x weight^T` on the calling thread, added up in float32.
///
/// Threads that share a product call this with parts of the rows of `weight`; no sum depends on what the
/// parts are.
///
/// # Shapes
///
/// - x: `[n, d_input]`
/// - weight: `[d_output, d_input]`
/// - out: `[n, d_output]`, overwritten
///
/// # Panics
///
/// If the slices do not have such shapes.
pub(crate) fn bf16_product(x: &[f32], weight: &[bf16], d_input: usize, out: &mut [f32]) {
    if out.is_empty() {
        return;
    }
    if d_input == 0 {
        out.fill(0.0);
        return;
    }
    let (n_rows, d_output) = (x.len() / d_input, weight.len() / d_input);
    assert_eq!(x.len(), n_rows * d_input, "whole rows");
    assert_eq!(weight.len(), d_output * d_input, "whole rows of a weight");
    assert_eq!(out.len(), n_rows * d_output, "elements of a product");
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(lanes) = Avx512::detect() {
            return multiply(lanes, x, weight, d_input, out);
        }
        if let Some(lanes) = Avx2::detect() {
            return multiply(lanes, x, weight, d_input, out);
        }
    }
    multiply(Portable, x, weight, d_input, out);
}

fn multiply<G: Lanes<L>, const L: usize>(
    lanes: G,
    x: &[f32],
    weight: &[bf16],
    d_input: usize,
    out: &mut [f32],
) {
    lanes.run(Product {
        lanes,
        x,
        weight,
        d_input,
        out,
    });
}

struct Product<'a, G, const L: usize> {
    lanes: G,
    x: &'a [f32],
    weight: &'a [bf16],
    d_input: usize,
    out: &'a mut [f32],
}

impl<G: Lanes<L>, const L: usize> Product<'_, G, L> {
    /// All rows with `O` outputs, which are read from memory once.
    #[inline(always)]
    fn write_all<const O: usize>(&mut self, output: usize) {
        let n_rows = self.x.len() / self.d_input;
        let mut row = 0;
        while row + 4 <= n_rows {
            self.write::<O, 4, 1>(row, output);
            row += 4;
        }
        if row + 2 <= n_rows {
            self.write::<O, 2, 1>(row, output);
            row += 2;
        }
        if row < n_rows {
            self.write::<O, 1, CHAINS>(row, output);
        }
    }

    /// `R` rows from `row` with `O` outputs.
    #[inline(always)]
    fn write<const O: usize, const R: usize, const C: usize>(&mut self, row: usize, output: usize) {
        let d_output = self.weight.len() / self.d_input;
        let rows = |r| &self.x[(row + r) * self.d_input..][..self.d_input];
        let weights = |o| &self.weight[(output + o) * self.d_input..][..self.d_input];
        let (rows, weights) = (core::array::from_fn(rows), core::array::from_fn(weights));
        let sums = sums::<G, L, O, R, C>(self.lanes, rows, weights, row == 0);
        for (o, sums) in sums.into_iter().enumerate() {
            for (r, sum) in sums.into_iter().enumerate() {
                self.out[(row + r) * d_output + output + o] = sum;
            }
        }
    }
}

impl<G: Lanes<L>, const L: usize> Kernel for Product<'_, G, L> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let n_rows = self.x.len() / self.d_input;
        let d_output = self.weight.len() / self.d_input;
        let mut output = 0;
        // Two outputs share what is read of the rows.
        while n_rows > 1 && output + 2 <= d_output {
            self.write_all::<2>(output);
            output += 2;
        }
        while output < d_output {
            self.write_all::<1>(output);
            output += 1;
        }
    }
}

/// Sums of products of rows with outputs, in `C` registers of partial sums each.
#[inline(always)]
fn sums<G: Lanes<L>, const L: usize, const O: usize, const R: usize, const C: usize>(
    lanes: G,
    rows: [&[f32]; R],
    weights: [&[bf16]; O],
    first: bool,
) -> [[f32; R]; O] {
    let len = weights[0].len();
    let ahead = AHEAD.next_multiple_of(O * len);
    let n_full = len / L;
    let x: [&[[f32; L]]; R] = core::array::from_fn(|r| &rows[r].as_chunks().0[..n_full]);
    let y: [&[[bf16; L]]; O] = core::array::from_fn(|o| &weights[o].as_chunks().0[..n_full]);
    let mut parts = [[[lanes.zero(); C]; R]; O];
    let mut i = 0;
    while i + C <= n_full {
        for chain in 0..C {
            // A single row is fast enough for loads of its own to be that far ahead.
            if O > 1 && first && ((i + chain) * L).is_multiple_of(LINE) {
                for o in 0..O {
                    lanes.prefetch(&y[o][i + chain], ahead);
                }
            }
            let mut values = [lanes.zero(); R];
            for r in 0..R {
                values[r] = lanes.load(&x[r][i + chain]);
            }
            add_chunk(lanes, &mut parts, chain, values, &y, i + chain);
        }
        i += C;
    }
    while i < n_full {
        let mut values = [lanes.zero(); R];
        for r in 0..R {
            values[r] = lanes.load(&x[r][i]);
        }
        add_chunk(lanes, &mut parts, 0, values, &y, i);
        i += 1;
    }
    let mut out = [[0.0; R]; O];
    for o in 0..O {
        for r in 0..R {
            let mut sum = parts[o][r][0];
            for chain in 1..C {
                sum = lanes.add(sum, parts[o][r][chain]);
            }
            out[o][r] = lanes.sum(sum) + rest(&rows[r][n_full * L..], &weights[o][n_full * L..]);
        }
    }
    out
}

/// Adds the products of chunk `i` of the outputs with values of the rows.
#[inline(always)]
fn add_chunk<G: Lanes<L>, const L: usize, const O: usize, const R: usize, const C: usize>(
    lanes: G,
    parts: &mut [[[G::Floats; C]; R]; O],
    chain: usize,
    values: [G::Floats; R],
    weights: &[&[[bf16; L]]; O],
    i: usize,
) {
    for o in 0..O {
        let weight = lanes.widen(&weights[o][i]);
        for r in 0..R {
            parts[o][r][chain] = lanes.multiply_add(values[r], weight, parts[o][r][chain]);
        }
    }
}

/// The sum of products that are too few for a lanes.
fn rest(x: &[f32], weights: &[bf16]) -> f32 {
    let products = x.iter().zip(weights).map(|(x, weight)| x * weight.to_f32());
    products.sum()
}

#[cfg(test)]
mod tests;
