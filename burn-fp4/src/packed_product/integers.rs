//! Rows of integers of eight bits, in blocks with a scale.

// Registers are in arrays that must not be iterated over, see `Lanes`.
#![allow(clippy::needless_range_loop)]

use super::lanes::{IntegerLanes, OFFSET, prefetch_scales, scale_word};
use super::task::{Outputs, Task, Tiles, UNROLLED};
use crate::simd::Kernel;

/// Elements of a row that share a scale: those of a lane, whose scale is an element of a register anyway.
const BLOCK: usize = 8;

/// The largest integer.
const MAX: f32 = 127.0;

/// `1.5 * 2^23`: added, it rounds to an integer, ties to even, and leaves it in the low bits.
const ROUNDING: f32 = 12_582_912.0;

/// Rows `[n, d_input]` for the instructions of `G`, in chunks that zeros fill up.
pub(super) struct Integers<G, const L: usize> {
    lanes: G,
    /// Of a row.
    n_chunks: usize,
    chunks: Vec<IntegerChunk<L>>,
}

/// The elements that belong to a register of codes, at the start of a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct IntegerChunk<const L: usize> {
    /// Even elements, which belong to low nibbles.
    pub even: [[i8; 4]; L],
    /// Odd elements, which belong to high nibbles.
    pub odd: [[i8; 4]; L],
    /// Minus [`OFFSET`] times the sum of the eight integers of a lane.
    pub starts: [i32; L],
    /// Half the scale of each lane's block, because codes are doubled.
    pub scales: [f32; L],
}

impl<G: IntegerLanes<L>, const L: usize> Integers<G, L> {
    pub fn new(lanes: G, values: &[f32], d_input: usize) -> Self {
        let n_chunks = d_input.div_ceil(8 * L);
        let zeros = IntegerChunk {
            even: [[0; 4]; L],
            odd: [[0; 4]; L],
            starts: [0; L],
            scales: [0.0; L],
        };
        let mut chunks = vec![zeros; values.len() / d_input.max(1) * n_chunks];
        let rows = chunks.chunks_exact_mut(n_chunks.max(1));
        for (chunks, values) in rows.zip(values.chunks_exact(d_input.max(1))) {
            for (chunk, values) in chunks.iter_mut().zip(values.chunks(8 * L)) {
                for (lane, block) in values.as_chunks().0.iter().enumerate() {
                    chunk.set_block(lane, block);
                }
            }
        }
        Self {
            lanes,
            n_chunks,
            chunks,
        }
    }

    pub fn multiply(&self, task: Task<'_>) {
        self.lanes.run(Product { rows: self, task });
    }

    #[inline(always)]
    fn row(&self, row: usize) -> &[IntegerChunk<L>] {
        &self.chunks[row * self.n_chunks..][..self.n_chunks]
    }
}

impl<const L: usize> IntegerChunk<L> {
    /// Rounds the block of a lane.
    fn set_block(&mut self, lane: usize, block: &[f32; BLOCK]) {
        let amax = block.iter().fold(0f32, |amax, x| amax.max(x.abs()));
        // `max` takes NaN for nothing.
        let finite = block.iter().all(|x| x.is_finite());
        let scale = if finite { amax / MAX } else { f32::NAN };
        let integers = block.map(|value| integer(value, scale));
        let [a, b, c, d, e, f, g, h] = integers;
        self.even[lane] = [a, c, e, g];
        self.odd[lane] = [b, d, f, h];
        self.starts[lane] = -OFFSET * integers.iter().map(|x| i32::from(*x)).sum::<i32>();
        self.scales[lane] = 0.5 * scale;
    }
}

/// `value / scale`, rounded; 0 if the scale is zero or NaN.
#[inline(always)]
fn integer(value: f32, scale: f32) -> i8 {
    // Subnormal scales are rounded, so a quotient may be above 127.
    let quotient = if scale > 0.0 { value / scale } else { 0.0 };
    (quotient.clamp(-MAX, MAX) + ROUNDING).to_bits() as i8
}

struct Product<'a, G, const L: usize> {
    rows: &'a Integers<G, L>,
    task: Task<'a>,
}

impl<G: IntegerLanes<L>, const L: usize> Kernel for Product<'_, G, L> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let n_rows = self.rows.chunks.len() / self.rows.n_chunks.max(1);
        self.task.run(self.rows, n_rows);
    }
}

impl<G: IntegerLanes<L>, const L: usize> Tiles for Integers<G, L> {
    const OUTPUTS: usize = G::OUTPUTS;

    #[inline(always)]
    fn tile<const O: usize, const R: usize>(
        &self,
        row: usize,
        outputs: &Outputs<'_, O>,
    ) -> [[f32; R]; O] {
        let lanes = self.lanes;
        let n_scales = 8 * L / outputs.format.block_size();
        let n_full = outputs.codes[0].len() / (4 * L);
        let rows: [&[IntegerChunk<L>]; R] = core::array::from_fn(|r| self.row(row + r));
        let codes: [&[[[u8; 4]; L]]; O] =
            core::array::from_fn(|o| &outputs.codes[o].as_chunks().0.as_chunks().0[..n_full]);
        if row == 0 {
            for o in 0..O {
                prefetch_scales(lanes, outputs.scales[o], outputs.ahead);
            }
        }
        let mut sums = [[lanes.zero(); R]; O];
        let mut i = 0;
        while i + UNROLLED <= n_full {
            for _ in 0..UNROLLED {
                self.add_full(&mut sums, i, rows, codes, outputs, row == 0);
                i += 1;
            }
        }
        while i < n_full {
            self.add_full(&mut sums, i, rows, codes, outputs, row == 0);
            i += 1;
        }
        if outputs.codes[0].len() > n_full * 4 * L {
            for o in 0..O {
                let factors = lanes.doubled(lanes.part(&outputs.codes[o][n_full * 4 * L..]));
                let bytes = &outputs.scales[o][n_full * n_scales..];
                let scale = lanes.scales(outputs.format, scale_word(bytes));
                for r in 0..R {
                    sums[o][r] = add_chunk(lanes, sums[o][r], &rows[r][n_full], factors, scale);
                }
            }
        }
        let mut out = [[0.0; R]; O];
        for o in 0..O {
            for r in 0..R {
                out[o][r] = lanes.sum(sums[o][r]);
            }
        }
        out
    }
}

impl<G: IntegerLanes<L>, const L: usize> Integers<G, L> {
    /// Adds the products of chunk `i`, which is full.
    #[inline(always)]
    fn add_full<const O: usize, const R: usize>(
        &self,
        sums: &mut [[G::Floats; R]; O],
        i: usize,
        rows: [&[IntegerChunk<L>]; R],
        codes: [&[[[u8; 4]; L]]; O],
        outputs: &Outputs<'_, O>,
        prefetch: bool,
    ) {
        let lanes = self.lanes;
        let n_scales = 8 * L / outputs.format.block_size();
        for o in 0..O {
            let factors = lanes.doubled(lanes.words(&codes[o][i]));
            let bytes = &outputs.scales[o][i * n_scales..][..n_scales];
            let scale = lanes.scales(outputs.format, scale_word(bytes));
            if prefetch {
                lanes.prefetch(codes[o][i].as_flattened(), outputs.ahead);
            }
            for r in 0..R {
                sums[o][r] = add_chunk(lanes, sums[o][r], &rows[r][i], factors, scale);
            }
        }
    }
}

/// `sum` plus the products of a chunk. Its scale comes first, because that of the weight may be close to
/// the largest number.
#[inline(always)]
fn add_chunk<G: IntegerLanes<L>, const L: usize>(
    lanes: G,
    sum: G::Floats,
    chunk: &IntegerChunk<L>,
    factors: [G::Words; 2],
    scale: G::Floats,
) -> G::Floats {
    let dot = lanes.dot(factors, chunk);
    let part = lanes.multiply(dot, lanes.load(&chunk.scales));
    lanes.multiply_add(part, scale, sum)
}
