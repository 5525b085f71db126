//! Rows of integers of eight bits, in blocks with a scale.

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
use super::instructions::Instructions;
use super::lanes::{IntegerLanes, OFFSET, scale_word};
use super::portable::Portable;
use super::task::{Outputs, Task, Tiles};
use crate::simd::Kernel;

/// Elements of a row that share a scale.
const BLOCK: usize = 32;

/// The largest integer.
const MAX: f32 = 127.0;

/// Rows `[n, d_input]` in chunks of the elements that a register of codes has, filled up with zeros.
pub(super) struct Int8Rows {
    instructions: Instructions,
    /// `u32` lanes of a row, whole chunks.
    n_lanes: usize,
    /// A chunk has its even elements first, then the odd ones: low nibbles, high nibbles.
    integers: Vec<i8>,
    /// Minus [`OFFSET`] times the sum of the eight integers of a lane.
    starts: Vec<i32>,
    /// Half the scale of the block, for each lane, because codes are doubled.
    scales: Vec<f32>,
}

impl Int8Rows {
    pub fn new(instructions: Instructions, values: &[f32], d_input: usize) -> Self {
        let n_lanes = d_input.next_multiple_of(8 * instructions.lanes()) / 8;
        let total = values.len() / d_input.max(1) * n_lanes;
        let mut rows = Self {
            instructions,
            n_lanes,
            integers: vec![0; 8 * total],
            starts: vec![0; total],
            scales: vec![0.0; total],
        };
        for (row, values) in values.chunks_exact(d_input.max(1)).enumerate() {
            for (block, values) in values.chunks(BLOCK).enumerate() {
                rows.set_block(row * n_lanes + block * (BLOCK / 8), values);
            }
        }
        rows
    }

    /// Rounds a block, the first of whose lanes is `lane`.
    fn set_block(&mut self, lane: usize, values: &[f32]) {
        let amax = values.iter().fold(0f32, |amax, x| amax.max(x.abs()));
        // `max` takes NaN for nothing.
        let finite = values.iter().all(|x| x.is_finite());
        let scale = if finite { amax / MAX } else { f32::NAN };
        let chunk = self.instructions.lanes();
        for (i, values) in values.chunks(8).enumerate() {
            let lane = lane + i;
            let first = lane / chunk * 8 * chunk + lane % chunk * 4;
            self.scales[lane] = 0.5 * scale;
            for (j, value) in values.iter().enumerate() {
                let integer = integer(*value, scale);
                self.integers[first + j % 2 * 4 * chunk + j / 2] = integer;
                self.starts[lane] -= OFFSET * i32::from(integer);
            }
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
                if let Some(lanes) = Avx512::<true>::detect() {
                    lanes.run(self.product(lanes, task));
                }
            }
        }
    }

    fn product<'a, L: IntegerLanes>(&'a self, lanes: L, task: Task<'a>) -> Product<'a, L> {
        Product {
            sums: Sums { lanes, rows: self },
            task,
        }
    }

    fn n_rows(&self) -> usize {
        self.starts.len() / self.n_lanes.max(1)
    }
}

/// `value / scale`, rounded; 0 if the scale is zero or NaN.
fn integer(value: f32, scale: f32) -> i8 {
    // Subnormal scales are rounded, so a quotient may be above 127. NaN casts to 0.
    let quotient = if scale > 0.0 { value / scale } else { 0.0 };
    quotient.round_ties_even().clamp(-MAX, MAX) as i8
}

struct Product<'a, L> {
    sums: Sums<'a, L>,
    task: Task<'a>,
}

impl<L: IntegerLanes> Kernel for Product<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        self.task.run(&self.sums, self.sums.rows.n_rows());
    }
}

struct Sums<'a, L> {
    lanes: L,
    rows: &'a Int8Rows,
}

impl<L: IntegerLanes> Tiles for Sums<'_, L> {
    const OUTPUTS: usize = 1;

    #[inline(always)]
    fn tile<const O: usize, const R: usize>(
        &self,
        row: usize,
        outputs: &Outputs<'_, O>,
    ) -> [[f32; R]; O] {
        let lanes = self.lanes;
        let mut sums = [[lanes.zero(); R]; O];
        let (n_bytes, n_scales) = (4 * L::LANES, 8 * L::LANES / outputs.format.block_size());
        let n_chunks = outputs.codes[0].len() / n_bytes;
        for chunk in 0..n_chunks {
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
            self.add_chunk(&mut sums, [row, chunk], codes, scales, outputs);
        }
        if outputs.codes[0].len() > n_chunks * n_bytes {
            let codes = outputs.codes.map(|codes| &codes[n_chunks * n_bytes..]);
            let scales = outputs.scales.map(|scales| &scales[n_chunks * n_scales..]);
            self.add_chunk(&mut sums, [row, n_chunks], codes, scales, outputs);
        }
        sums.map(|sums| sums.map(|sum| lanes.sum(sum)))
    }
}

impl<L: IntegerLanes> Sums<'_, L> {
    /// Adds the products of a chunk of `R` rows with the codes of `O` outputs.
    #[inline(always)]
    fn add_chunk<const O: usize, const R: usize>(
        &self,
        sums: &mut [[L::Floats; R]; O],
        [row, chunk]: [usize; 2],
        codes: [&[u8]; O],
        scales: [&[u8]; O],
        outputs: &Outputs<'_, O>,
    ) {
        let lanes = self.lanes;
        for o in 0..O {
            let factors = lanes.doubled(lanes.bytes(codes[o]));
            let scale = lanes.scales(outputs.format, scale_word(scales[o]));
            for (r, sum) in sums[o].iter_mut().enumerate() {
                let lane = (row + r) * self.rows.n_lanes + chunk * L::LANES;
                let integers = &self.rows.integers[8 * lane..][..8 * L::LANES];
                let starts = &self.rows.starts[lane..][..L::LANES];
                let row_scale = lanes.load(&self.rows.scales[lane..][..L::LANES]);
                let dot = lanes.dot(factors, integers, starts);
                let part = lanes.multiply(dot, row_scale);
                *sum = lanes.multiply_add(part, scale, *sum);
            }
        }
    }
}
