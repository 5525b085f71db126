//! Loops over rows of scores.

use crate::ops::exponential::flex::exp;
use burn_fp4::backend::flex::{Kernel, dot};

/// Partial results of a loop that reduces: four registers of eight.
const LANES: usize = 32;

/// The running softmax of a tile of rows (Milakov and Gimelshein 2018, algorithm 3): scores become
/// weights relative to each row's largest score so far, and what was summed before is rescaled.
pub(super) struct Absorb<'a> {
    /// `[rows, keys]`, already with what hides keys.
    pub(super) scores: &'a mut [f32],
    pub(super) keys: usize,
    /// Largest score so far, per row.
    pub(super) maxima: &'a mut [f32],
    /// Sum of weights so far, per row.
    pub(super) sums: &'a mut [f32],
    /// Weighted sum of values so far, `[rows, dim]`.
    pub(super) output: &'a mut [f32],
}

impl Kernel for Absorb<'_> {
    type Output = ();
    const WIDE: bool = true;

    #[inline(always)]
    fn run(self) {
        let dim = self.output.len() / self.maxima.len();
        let rows = self.scores.chunks_exact_mut(self.keys);
        let state = self.maxima.iter_mut().zip(self.sums);
        let output = self.output.chunks_exact_mut(dim);
        for ((scores, (maximum, sum)), output) in rows.zip(state).zip(output) {
            let new = largest(scores, *maximum);
            let before = exp(*maximum - new);
            *sum = *sum * before + exponentials(scores, new);
            *maximum = new;
            if before != 1.0 {
                output.iter_mut().for_each(|x| *x *= before);
            }
        }
    }
}

/// Weights and gradients of scores (FlashAttention-2, Dao 2023, algorithm 2, lines 11 to 14).
pub(super) struct Gradients<'a> {
    /// `[rows, keys]`, already with what hides keys; become weights.
    pub(super) scores: &'a mut [f32],
    /// `[rows, keys]`, gradients of the weights; become gradients of the scores.
    pub(super) gradients: &'a mut [f32],
    pub(super) keys: usize,
    pub(super) log_sum_exp: &'a [f32],
    /// Sum of gradient times output, per row.
    pub(super) deltas: &'a [f32],
}

impl Kernel for Gradients<'_> {
    type Output = ();
    const WIDE: bool = true;

    #[inline(always)]
    fn run(self) {
        let scores = self.scores.chunks_exact_mut(self.keys);
        let gradients = self.gradients.chunks_exact_mut(self.keys);
        let state = self.log_sum_exp.iter().zip(self.deltas);
        for ((scores, gradients), (log_sum_exp, delta)) in scores.zip(gradients).zip(state) {
            for (score, gradient) in scores.iter_mut().zip(gradients) {
                *score = exp(*score - log_sum_exp);
                *gradient = *score * (*gradient - delta);
            }
        }
    }
}

/// Adds the mask of each query to the scores of its heads.
pub(super) struct Hide<'a> {
    /// `[queries, group, keys]`
    pub(super) scores: &'a mut [f32],
    /// `[queries, keys]`
    pub(super) mask: &'a [f32],
    pub(super) group: usize,
    pub(super) keys: usize,
}

impl Kernel for Hide<'_> {
    type Output = ();
    const WIDE: bool = true;

    #[inline(always)]
    fn run(self) {
        let queries = self.scores.chunks_exact_mut(self.group * self.keys);
        for (heads, mask) in queries.zip(self.mask.chunks_exact(self.keys)) {
            for scores in heads.chunks_exact_mut(self.keys) {
                scores.iter_mut().zip(mask).for_each(|(x, m)| *x += m);
            }
        }
    }
}

/// Dot products of the rows of two matrices.
pub(super) struct RowProducts<'a> {
    /// `[rows, width]`
    pub(super) a: &'a [f32],
    /// `[rows, width]`
    pub(super) b: &'a [f32],
    /// `[rows]`
    pub(super) out: &'a mut [f32],
}

impl Kernel for RowProducts<'_> {
    type Output = ();
    const WIDE: bool = true;

    #[inline(always)]
    fn run(self) {
        let width = self.a.len() / self.out.len();
        let rows = self.a.chunks_exact(width).zip(self.b.chunks_exact(width));
        for (out, (a, b)) in self.out.iter_mut().zip(rows) {
            *out = dot(a, b);
        }
    }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The largest of a row and `start`. NaN is passed over; it comes back from the exponential.
#[inline(always)]
fn largest(row: &[f32], start: f32) -> f32 {
    let mut lanes = [start; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, *x);
    }
    reduce(lanes, larger)
}

/// Replaces `x` by `e^(x - shift)` and returns the sum.
#[inline(always)]
fn exponentials(row: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = exp(*x - shift);
            *lane += *x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *x = exp(*x - shift);
        *lane += *x;
    }
    reduce(lanes, |a, b| a + b)
}

/// Partial results in a tree, whose order does not depend on the processor.
#[inline(always)]
fn reduce(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}
