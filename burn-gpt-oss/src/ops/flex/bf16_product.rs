//! Products of a few rows with a bf16 matrix as it is stored.
//!
//! The time of such a product is the time of reading the matrix, which would double with every element
//! widened in memory. Instruction sets differ in the order in which they add, nothing else.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx512;
mod portable;
mod register;

use half::bf16;

use super::simd::Kernel;
use register::{MAX_LANES, Register};

/// Elements between what is multiplied and what is asked of memory. Prefetchers of processors stop at
/// the end of a page.
const AHEAD: usize = 2048;

/// Registers of partial sums of one row with one output: an addition waits for the one before.
const CHAINS: usize = 4;

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
        if let Some(register) = avx512::Avx512::detect() {
            return register.run(Product::new(register, x, weight, d_input, out));
        }
        if let Some(register) = avx2::Avx2::detect() {
            return register.run(Product::new(register, x, weight, d_input, out));
        }
    }
    Product::new(portable::Portable, x, weight, d_input, out).run();
}

struct Product<'a, G> {
    register: G,
    x: &'a [f32],
    weight: &'a [bf16],
    d_input: usize,
    out: &'a mut [f32],
}

impl<'a, G: Register> Product<'a, G> {
    fn new(
        register: G,
        x: &'a [f32],
        weight: &'a [bf16],
        d_input: usize,
        out: &'a mut [f32],
    ) -> Self {
        Self {
            register,
            x,
            weight,
            d_input,
            out,
        }
    }

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
        let sums = sums::<G, O, R, C>(self.register, rows, weights, row == 0);
        for (o, sums) in sums.into_iter().enumerate() {
            for (r, sum) in sums.into_iter().enumerate() {
                self.out[(row + r) * d_output + output + o] = sum;
            }
        }
    }
}

impl<G: Register> Kernel for Product<'_, G> {
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
fn sums<G: Register, const O: usize, const R: usize, const C: usize>(
    register: G,
    rows: [&[f32]; R],
    weights: [&[bf16]; O],
    first: bool,
) -> [[f32; R]; O] {
    let len = weights[0].len();
    let ahead = if O == 1 { AHEAD } else { O * len };
    let mut parts = [[[register.zero(); C]; R]; O];
    let chunk = C * G::LANES;
    let n_chunks = len / chunk;
    for i in 0..n_chunks {
        let rows = rows.map(|row| &row[i * chunk..][..chunk]);
        let weights = weights.map(|weights| &weights[i * chunk..][..chunk]);
        for weights in weights {
            if first {
                register.prefetch(weights, ahead);
            }
        }
        add::<G, O, R, C>(register, &mut parts, rows, weights, C);
    }
    let mut start = n_chunks * chunk;
    while start < len {
        let n = G::LANES.min(len - start);
        let (mut filled, mut filled_weights) =
            ([[0.0; MAX_LANES]; R], [[bf16::ZERO; MAX_LANES]; O]);
        for (filled, row) in filled.iter_mut().zip(&rows) {
            filled[..n].copy_from_slice(&row[start..][..n]);
        }
        for (filled, weights) in filled_weights.iter_mut().zip(&weights) {
            filled[..n].copy_from_slice(&weights[start..][..n]);
        }
        let (rows, weights) = (filled.each_ref(), filled_weights.each_ref());
        // One chain is enough for what is left.
        let rows = rows.map(|row| &row[..]);
        let weights = weights.map(|weights| &weights[..]);
        add::<G, O, R, C>(register, &mut parts, rows, weights, 1);
        start += n;
    }
    parts.map(|parts| {
        parts.map(|chains| {
            let sum = chains
                .into_iter()
                .reduce(|sum, chain| register.add(sum, chain));
            sum.map_or(0.0, |sum| register.sum(sum))
        })
    })
}

/// Adds the products of `n_chains` registers of every row and every output.
#[inline(always)]
fn add<G: Register, const O: usize, const R: usize, const C: usize>(
    register: G,
    parts: &mut [[[G::Floats; C]; R]; O],
    rows: [&[f32]; R],
    weights: [&[bf16]; O],
    n_chains: usize,
) {
    for chain in 0..n_chains {
        let at = chain * G::LANES;
        let rows: [G::Floats; R] = core::array::from_fn(|r| register.load(&rows[r][at..]));
        for o in 0..O {
            let weight = register.widen(&weights[o][at..]);
            for r in 0..R {
                parts[o][r][chain] = register.multiply_add(rows[r], weight, parts[o][r][chain]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
