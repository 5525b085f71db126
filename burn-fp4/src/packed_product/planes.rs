//! Rows of `f32` in the order in which nibbles are decoded.

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
use super::instructions::Instructions;
use super::lanes::{Lanes, scale_word};
use super::portable::Portable;
use super::task::{Outputs, Task, Tiles};
use crate::simd::Kernel;

/// Rows `[n, d_input]` in chunks of eight planes: plane `k` of a chunk has a value for each `u32` lane
/// of the codes, the one that belongs to nibble `k` of the lane. Zeros fill the last chunk.
pub(super) struct Planes {
    instructions: Instructions,
    /// Values of a row, whole chunks.
    row_len: usize,
    values: Vec<f32>,
}

impl Planes {
    pub fn new(instructions: Instructions, values: &[f32], d_input: usize) -> Self {
        let lanes = instructions.lanes();
        let row_len = d_input.next_multiple_of(8 * lanes);
        let mut planes = vec![0.0; values.len() / d_input.max(1) * row_len];
        let rows = planes.chunks_exact_mut(row_len.max(1));
        for (planes, values) in rows.zip(values.chunks_exact(d_input.max(1))) {
            let chunks = planes.chunks_exact_mut(8 * lanes);
            for (chunk, values) in chunks.zip(values.chunks(8 * lanes)) {
                for (i, &value) in values.iter().enumerate() {
                    chunk[i % 8 * lanes + i / 8] = value;
                }
            }
        }
        Self {
            instructions,
            row_len,
            values: planes,
        }
    }

    pub fn multiply(&self, task: Task<'_>) {
        match self.instructions {
            Instructions::Portable => self.product(Portable, task).run(),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => {
                if let Some(lanes) = Avx2::detect() {
                    lanes.run(self.product(lanes, task));
                }
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => {
                if let Some(lanes) = Avx512::<false>::detect() {
                    lanes.run(self.product(lanes, task));
                }
            }
        }
    }

    fn product<'a, L: Lanes>(&'a self, lanes: L, task: Task<'a>) -> Product<'a, L> {
        Product {
            sums: Sums {
                lanes,
                planes: self,
            },
            task,
        }
    }

    fn n_rows(&self) -> usize {
        self.values.len() / self.row_len.max(1)
    }

    #[inline(always)]
    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.row_len..][..self.row_len]
    }
}

struct Product<'a, L> {
    sums: Sums<'a, L>,
    task: Task<'a>,
}

impl<L: Lanes> Kernel for Product<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        self.task.run(&self.sums, self.sums.planes.n_rows());
    }
}

struct Sums<'a, L> {
    lanes: L,
    planes: &'a Planes,
}

impl<L: Lanes> Tiles for Sums<'_, L> {
    const OUTPUTS: usize = L::OUTPUTS;

    #[inline(always)]
    fn tile<const O: usize, const R: usize>(
        &self,
        row: usize,
        outputs: &Outputs<'_, O>,
    ) -> [[f32; R]; O] {
        let lanes = self.lanes;
        let rows: [&[f32]; R] = core::array::from_fn(|r| self.planes.row(row + r));
        let mut sums = [[lanes.zero(); R]; O];
        let (n_bytes, n_scales) = (4 * L::LANES, 8 * L::LANES / outputs.format.block_size());
        let n_chunks = outputs.codes[0].len() / n_bytes;
        for chunk in 0..n_chunks {
            let rows = rows.map(|row| &row[chunk * 8 * L::LANES..][..8 * L::LANES]);
            let codes = outputs
                .codes
                .map(|codes| &codes[chunk * n_bytes..][..n_bytes]);
            let scales = outputs
                .scales
                .map(|scales| &scales[chunk * n_scales..][..n_scales]);
            if row == 0 {
                for codes in codes {
                    lanes.prefetch(codes, outputs.ahead);
                }
            }
            add_chunk(lanes, &mut sums, rows, codes, scales, outputs);
        }
        if outputs.codes[0].len() > n_chunks * n_bytes {
            let rows = rows.map(|row| &row[n_chunks * 8 * L::LANES..][..8 * L::LANES]);
            let codes = outputs.codes.map(|codes| &codes[n_chunks * n_bytes..]);
            let scales = outputs.scales.map(|scales| &scales[n_chunks * n_scales..]);
            add_chunk(lanes, &mut sums, rows, codes, scales, outputs);
        }
        sums.map(|sums| sums.map(|sum| lanes.sum(sum)))
    }
}

/// Adds the products of a chunk of `R` rows with the codes of `O` outputs.
///
/// The scale comes last, because it takes one multiplication for eight, and even and odd nibbles add
/// up apart, because an addition waits for the one before.
#[inline(always)]
fn add_chunk<L: Lanes, const O: usize, const R: usize>(
    lanes: L,
    sums: &mut [[L::Floats; R]; O],
    rows: [&[f32]; R],
    codes: [&[u8]; O],
    scales: [&[u8]; O],
    outputs: &Outputs<'_, O>,
) {
    let mut codes = codes.map(|codes| lanes.bytes(codes));
    let mut parts = [[[lanes.zero(); 2]; R]; O];
    for plane in 0..8 {
        for r in 0..R {
            let x = lanes.load(&rows[r][plane * L::LANES..]);
            for o in 0..O {
                let value = lanes.values(codes[o]);
                let part = &mut parts[o][r][if O * R == 1 { plane % 2 } else { 0 }];
                *part = if plane < if O * R == 1 { 2 } else { 1 } {
                    lanes.multiply(x, value)
                } else {
                    lanes.multiply_add(x, value, *part)
                };
            }
        }
        codes = codes.map(|codes| lanes.next(codes));
    }
    for o in 0..O {
        let scale = lanes.scales(outputs.format, scale_word(scales[o]));
        for r in 0..R {
            let [even, odd] = parts[o][r];
            let part = if O * R == 1 {
                lanes.add(even, odd)
            } else {
                even
            };
            sums[o][r] = lanes.multiply_add(part, scale, sums[o][r]);
        }
    }
}
