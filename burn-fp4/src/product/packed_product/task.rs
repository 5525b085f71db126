//! What one call computes, and the order in which it does.

use std::ops::Range;

use super::matrix::{PackedMatrix, ScaleFormat};

/// Bytes between what is decoded and what is asked of memory: time enough for an answer at the pace of
/// a core. Prefetchers of processors stop at the end of a page; a weight has one every three rows.
const AHEAD: usize = 46 * 64;

/// Chunks of one turn of a loop. Prefetchers of processors look some steps of an instruction ahead, so its
/// steps should be long.
pub(super) const UNROLLED: usize = 4;

/// Products of all rows with some outputs, to be written to `out`.
pub(super) struct Task<'a> {
    matrix: &'a PackedMatrix<'a>,
    outputs: Range<usize>,
    out: &'a mut [f32],
}

/// `O` outputs that are computed together.
#[derive(Clone, Copy)]
pub(super) struct Outputs<'a, const O: usize> {
    /// Of the codes, a row each.
    pub codes: [&'a [u8]; O],
    /// Of the scale bytes, a row each.
    pub scales: [&'a [u8]; O],
    /// What the scale bytes mean.
    pub format: ScaleFormat,
    /// Bytes of codes from here to those that are wanted soon.
    pub ahead: usize,
}

/// Sums of `O` outputs with rows of activations.
pub(super) trait Tiles {
    /// Outputs that are best computed together if there are several rows.
    const OUTPUTS: usize;

    /// Sums of `R` rows from `row` with `O` outputs.
    fn tile<const O: usize, const R: usize>(
        &self,
        row: usize,
        outputs: &Outputs<'_, O>,
    ) -> [[f32; R]; O];
}

impl<'a> Task<'a> {
    pub fn new(matrix: &'a PackedMatrix<'a>, outputs: Range<usize>, out: &'a mut [f32]) -> Self {
        Self {
            matrix,
            outputs,
            out,
        }
    }

    /// Fills `out`. All rows pass by the outputs of a tile before the next outputs, which are read from
    /// memory once.
    #[inline(always)]
    pub fn run<T: Tiles>(&mut self, tiles: &T, n_rows: usize) {
        // One copy of the loops for each format, which is a constant in it.
        match self.matrix.format() {
            ScaleFormat::E8m0 => self.run_format(tiles, n_rows, ScaleFormat::E8m0),
            ScaleFormat::E4m3Of16 => self.run_format(tiles, n_rows, ScaleFormat::E4m3Of16),
            ScaleFormat::E4m3Of32 => self.run_format(tiles, n_rows, ScaleFormat::E4m3Of32),
        }
    }

    #[inline(always)]
    fn run_format<T: Tiles>(&mut self, tiles: &T, n_rows: usize, format: ScaleFormat) {
        let mut output = self.outputs.start;
        // Two outputs share what is read of the rows.
        if n_rows > 1 && T::OUTPUTS == 2 {
            while output + 2 <= self.outputs.end {
                self.all_rows::<T, 2>(tiles, n_rows, output, format);
                output += 2;
            }
        }
        while output < self.outputs.end {
            self.all_rows::<T, 1>(tiles, n_rows, output, format);
            output += 1;
        }
    }

    #[inline(always)]
    fn all_rows<T: Tiles, const O: usize>(
        &mut self,
        tiles: &T,
        n_rows: usize,
        output: usize,
        format: ScaleFormat,
    ) {
        let group = (O * self.matrix.d_input() / 2).max(1);
        let outputs = Outputs {
            codes: core::array::from_fn(|o| self.matrix.codes(output + o)),
            scales: core::array::from_fn(|o| self.matrix.scales(output + o)),
            format,
            ahead: if O == 1 {
                AHEAD
            } else {
                AHEAD.next_multiple_of(group)
            },
        };
        let mut row = 0;
        while row + 4 <= n_rows {
            let sums = tiles.tile::<O, 4>(row, &outputs);
            self.write(row, output, sums, &outputs);
            row += 4;
        }
        if row + 2 <= n_rows {
            let sums = tiles.tile::<O, 2>(row, &outputs);
            self.write(row, output, sums, &outputs);
            row += 2;
        }
        if row < n_rows {
            let sums = tiles.tile::<O, 1>(row, &outputs);
            self.write(row, output, sums, &outputs);
        }
    }

    #[inline(always)]
    fn write<const O: usize, const R: usize>(
        &mut self,
        row: usize,
        output: usize,
        sums: [[f32; R]; O],
        outputs: &Outputs<'_, O>,
    ) {
        for (o, sums) in sums.iter().enumerate() {
            for (r, &sum) in sums.iter().enumerate() {
                let at = (row + r) * self.outputs.len() + output + o - self.outputs.start;
                // Vector registers have infinity for the E8M0 byte that means NaN.
                let nan = !sum.is_finite() && outputs.format.has_nan(outputs.scales[o]);
                let sum = if nan { f32::NAN } else { sum };
                self.out[at] = sum * self.matrix.global_scale();
            }
        }
    }
}
