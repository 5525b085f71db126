//! Products of a few rows with a bf16 matrix as it is stored.
//!
//! The time of such a product is the time of reading the matrix, which would double with every element
//! widened in memory. Loops are plain Rust that the compiler vectorizes; they are compiled for several
//! instruction sets, which differ in whether products are rounded before they are added.

use half::bf16;

use super::simd::Kernel;

/// Elements between what is multiplied and what is asked of memory. Prefetchers of processors stop at
/// the end of a page.
const AHEAD: usize = 2048;

/// Elements of a cache line.
const LINE: usize = 32;

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
    let product = Product::<false> {
        x,
        weight,
        d_input,
        out,
    };
    dispatch(product);
}

#[allow(unsafe_code)]
fn dispatch(product: Product<'_, false>) {
    #[cfg(target_arch = "x86_64")]
    {
        let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if fma && is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor was just asked for the features.
            return unsafe { run_avx512(product.fused()) };
        }
        if fma {
            // SAFETY: the processor was just asked for the features.
            return unsafe { run_avx2(product.fused()) };
        }
    }
    #[cfg(target_arch = "aarch64")]
    return product.fused().run();
    #[cfg(not(target_arch = "aarch64"))]
    product.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512(product: Product<'_, true>) {
    product.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2(product: Product<'_, true>) {
    product.run();
}

/// A product whose multiply-adds are one instruction if `FUSED`. Where there is none for it, it would
/// be a function call.
struct Product<'a, const FUSED: bool> {
    x: &'a [f32],
    weight: &'a [bf16],
    d_input: usize,
    out: &'a mut [f32],
}

impl<'a, const FUSED: bool> Product<'a, FUSED> {
    fn fused(self) -> Product<'a, true> {
        Product {
            x: self.x,
            weight: self.weight,
            d_input: self.d_input,
            out: self.out,
        }
    }

    /// Sums of `R` rows from `row` with one output.
    #[inline(always)]
    fn write<const R: usize, const LANES: usize>(&mut self, row: usize, output: usize) {
        let d_output = self.weight.len() / self.d_input;
        let rows = |r| &self.x[(row + r) * self.d_input..][..self.d_input];
        let weights = &self.weight[output * self.d_input..][..self.d_input];
        let sums = sums::<FUSED, R, LANES>(core::array::from_fn(rows), weights);
        for (r, sum) in sums.into_iter().enumerate() {
            self.out[(row + r) * d_output + output] = sum;
        }
    }
}

impl<const FUSED: bool> Kernel for Product<'_, FUSED> {
    type Output = ();

    /// All rows pass by an output before the next one, so it is read from memory once.
    #[inline(always)]
    fn run(mut self) {
        let n_rows = self.x.len() / self.d_input;
        for output in 0..self.weight.len() / self.d_input {
            let mut row = 0;
            while row + 4 <= n_rows {
                self.write::<4, 16>(row, output);
                row += 4;
            }
            if row + 2 <= n_rows {
                self.write::<2, 32>(row, output);
                row += 2;
            }
            if row < n_rows {
                self.write::<1, 64>(row, output);
            }
        }
    }
}

/// Sums of products of rows with one output, in `LANES` partial sums each.
#[inline(always)]
fn sums<const FUSED: bool, const R: usize, const LANES: usize>(
    rows: [&[f32]; R],
    weights: &[bf16],
) -> [f32; R] {
    let mut lanes = [[0.0; LANES]; R];
    let (chunks, rest) = weights.as_chunks::<LANES>();
    for (i, weights) in chunks.iter().enumerate() {
        prefetch(weights);
        for (row, lanes) in rows.iter().zip(&mut lanes) {
            let x = &row[i * LANES..][..LANES];
            for ((lane, x), weight) in lanes.iter_mut().zip(x).zip(weights) {
                *lane = multiply_add::<FUSED>(*x, widened(*weight), *lane);
            }
        }
    }
    let mut sums = lanes.map(sum);
    for (row, sum) in rows.iter().zip(&mut sums) {
        for (x, weight) in row[weights.len() - rest.len()..].iter().zip(rest) {
            *sum = multiply_add::<FUSED>(*x, widened(*weight), *sum);
        }
    }
    sums
}

/// The sum of partial sums, halves in turn.
#[inline(always)]
fn sum<const LANES: usize>(mut lanes: [f32; LANES]) -> f32 {
    let mut distance = LANES / 2;
    while distance > 0 {
        for lane in 0..distance {
            lanes[lane] += lanes[lane + distance];
        }
        distance /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `to_f32` without its branch for NaN, which keeps loops from being vectorized.
#[inline(always)]
fn widened(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

/// Asks for what comes [`AHEAD`] of some elements.
#[inline(always)]
#[allow(unsafe_code)]
fn prefetch(weights: &[bf16]) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..weights.len().div_ceil(LINE) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let ahead = weights.as_ptr().wrapping_add(AHEAD + line * LINE);
        // SAFETY: the instruction accepts any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (weights, AHEAD, LINE);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half the distance of float32 numbers from 1.
    const EPSILON: f64 = 1.0 / (1 << 24) as f64;

    fn values(n: usize, seed: u32) -> Vec<f32> {
        let next = |state: &mut u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        };
        core::iter::successors(Some(seed), |_| None)
            .flat_map(|mut state| core::iter::from_fn(move || next(&mut state)).take(n))
            .collect()
    }

    type Run = fn(&[f32], &[bf16], usize, &mut [f32]);

    /// The product with every instruction set of this processor.
    #[allow(unsafe_code)]
    fn runs() -> Vec<Run> {
        let mut runs: Vec<Run> = vec![bf16_product, |x, weight, d_input, out| {
            let product = Product::<false> {
                x,
                weight,
                d_input,
                out,
            };
            product.run();
        }];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            runs.push(|x, weight, d_input, out| {
                let product = Product {
                    x,
                    weight,
                    d_input,
                    out,
                };
                // SAFETY: the processor was just asked for the features.
                unsafe { run_avx2(product) }
            });
        }
        runs
    }

    #[test]
    fn sums_are_those_of_f64_up_to_rounding() {
        for (run, d_input) in runs().into_iter().flat_map(|run| {
            let widths = [1, 15, 16, 33, 64, 100, 2880];
            widths.into_iter().map(move |width| (run, width))
        }) {
            let weight: Vec<bf16> = values(5 * d_input, 9)
                .into_iter()
                .map(bf16::from_f32)
                .collect();
            for n_rows in 1..=17 {
                let x = values(n_rows * d_input, n_rows as u32);
                let mut out = vec![7.0; n_rows * 5];
                run(&x, &weight, d_input, &mut out);
                for (i, found) in out.into_iter().enumerate() {
                    let row = &x[i / 5 * d_input..][..d_input];
                    let products = row.iter().zip(&weight[i % 5 * d_input..][..d_input]);
                    let products = products.map(|(x, w)| f64::from(*x) * f64::from(w.to_f32()));
                    let [sum, size] = products.fold([0.0, 0.0], |[sum, size], product: f64| {
                        [sum + product, size + product.abs()]
                    });
                    let bound = (d_input + 1) as f64 * EPSILON * size;
                    assert!((f64::from(found) - sum).abs() <= bound, "{found} {sum}");
                }
            }
        }
    }

    #[test]
    fn values_that_are_not_finite_are_not_lost() {
        let weight = [bf16::ONE; 2 * 80];
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = [1.0; 2 * 80];
            x[80 + 70] = bad;
            let mut out = [0.0; 4];
            bf16_product(&x, &weight, 80, &mut out);
            assert_eq!(out[..2], [80.0; 2]);
            assert!(out[2..].iter().all(|x| !x.is_finite()));
        }
    }

    #[test]
    fn empty_products() {
        bf16_product(&[], &[bf16::ONE; 8], 4, &mut []);
        bf16_product(&[1.0; 4], &[], 4, &mut []);
    }
}
