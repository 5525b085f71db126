//! Rows of `f32` in the order in which nibbles are decoded.

// Registers are in arrays that must not be iterated over, see `Lanes`.
#![allow(clippy::needless_range_loop)]

use super::super::lanes::{Lanes, prefetch_scales, scale_word};
use super::task::{Outputs, Task, Tiles, UNROLLED};
use crate::simd::Kernel;

/// Rows `[n, d_input]` for the instructions of `G`, in chunks that zeros fill up.
pub(super) struct NibbleRows<G, const L: usize> {
    lanes: G,
    /// Of a row.
    n_chunks: usize,
    chunks: Vec<Chunk<L>>,
}

/// Eight planes: plane `k` has a value for each `u32` lane of the codes, the one that belongs to nibble
/// `k` of the lane. At the start of a cache line, because a register that crosses two takes twice as
/// long.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Chunk<const L: usize>([[f32; L]; 8]);

impl<G: Lanes<L>, const L: usize> NibbleRows<G, L> {
    pub fn new(lanes: G, values: &[f32], d_input: usize) -> Self {
        let n_chunks = d_input.div_ceil(8 * L);
        let zeros = Chunk([[0.0; L]; 8]);
        let mut chunks = vec![zeros; values.len() / d_input.max(1) * n_chunks];
        let rows = chunks.chunks_exact_mut(n_chunks.max(1));
        for (chunks, values) in rows.zip(values.chunks_exact(d_input.max(1))) {
            for (Chunk(planes), values) in chunks.iter_mut().zip(values.chunks(8 * L)) {
                for (lane, values) in values.chunks(8).enumerate() {
                    for (plane, value) in planes.iter_mut().zip(values) {
                        plane[lane] = *value;
                    }
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
    fn row(&self, row: usize) -> &[Chunk<L>] {
        &self.chunks[row * self.n_chunks..][..self.n_chunks]
    }
}

struct Product<'a, G, const L: usize> {
    rows: &'a NibbleRows<G, L>,
    task: Task<'a>,
}

impl<G: Lanes<L>, const L: usize> Kernel for Product<'_, G, L> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let n_rows = self.rows.chunks.len() / self.rows.n_chunks.max(1);
        self.task.run(self.rows, n_rows);
    }
}

impl<G: Lanes<L>, const L: usize> Tiles for NibbleRows<G, L> {
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
        let rows: [&[Chunk<L>]; R] = core::array::from_fn(|r| self.row(row + r));
        let codes: [&[[[u8; 4]; L]]; O] =
            core::array::from_fn(|o| &outputs.codes[o].as_chunks().0.as_chunks().0[..n_full]);
        if row == 0 {
            for o in 0..O {
                prefetch_scales(lanes, outputs.scales[o], outputs.ahead);
            }
        }
        let mut sums = [[lanes.zero(); R]; O];
        let mut i = 0;
        while O == 1 && i + UNROLLED <= n_full {
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
            let mut words = [lanes.zero_words(); O];
            let mut scales = [lanes.zero(); O];
            for o in 0..O {
                words[o] = lanes.part(&outputs.codes[o][n_full * 4 * L..]);
                let bytes = &outputs.scales[o][n_full * n_scales..];
                scales[o] = lanes.scales(outputs.format, scale_word(bytes));
            }
            let mut x = [&rows[0][n_full]; R];
            for r in 0..R {
                x[r] = &rows[r][n_full];
            }
            add_chunk(lanes, &mut sums, x, words, scales);
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

impl<G: Lanes<L>, const L: usize> NibbleRows<G, L> {
    /// Adds the products of chunk `i`, which is full.
    #[inline(always)]
    fn add_full<const O: usize, const R: usize>(
        &self,
        sums: &mut [[G::Floats; R]; O],
        i: usize,
        rows: [&[Chunk<L>]; R],
        codes: [&[[[u8; 4]; L]]; O],
        outputs: &Outputs<'_, O>,
        prefetch: bool,
    ) {
        let lanes = self.lanes;
        let n_scales = 8 * L / outputs.format.block_size();
        let mut words = [lanes.zero_words(); O];
        let mut scales = [lanes.zero(); O];
        for o in 0..O {
            words[o] = lanes.words(&codes[o][i]);
            let bytes = &outputs.scales[o][i * n_scales..][..n_scales];
            scales[o] = lanes.scales(outputs.format, scale_word(bytes));
            if prefetch {
                lanes.prefetch(codes[o][i].as_flattened(), outputs.ahead);
            }
        }
        let mut x = [&rows[0][i]; R];
        for r in 0..R {
            x[r] = &rows[r][i];
        }
        add_chunk(lanes, sums, x, words, scales);
    }
}

/// Adds the products of a chunk of `R` rows with the codes of `O` outputs.
///
/// The scale comes last, because it takes one multiplication for eight. A single row
/// adds up even and odd nibbles apart, because an addition waits for the one before.
#[inline(always)]
fn add_chunk<G: Lanes<L>, const L: usize, const O: usize, const R: usize>(
    lanes: G,
    sums: &mut [[G::Floats; R]; O],
    x: [&Chunk<L>; R],
    mut words: [G::Words; O],
    scales: [G::Floats; O],
) {
    let mut parts = [[[lanes.zero(); 2]; R]; O];
    // Not by the number of outputs, so that sums do not depend on which ones are computed together.
    let n_parts = if R == 1 { 2 } else { 1 };
    for plane in 0..8 {
        let part = plane % n_parts;
        let mut values = [lanes.zero(); O];
        for o in 0..O {
            values[o] = lanes.values(words[o]);
            words[o] = lanes.next(words[o]);
        }
        for r in 0..R {
            let x = lanes.load(&x[r].0[plane]);
            for o in 0..O {
                parts[o][r][part] = if plane < n_parts {
                    lanes.multiply(x, values[o])
                } else {
                    lanes.multiply_add(x, values[o], parts[o][r][part])
                };
            }
        }
    }
    for o in 0..O {
        for r in 0..R {
            let [even, odd] = parts[o][r];
            let part = if n_parts == 2 {
                lanes.add(even, odd)
            } else {
                even
            };
            sums[o][r] = lanes.multiply_add(part, scales[o], sums[o][r]);
        }
    }
}
