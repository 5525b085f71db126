//! Products of many rows with a packed weight, or with its transpose.

mod load;

use cubecl::prelude::*;

use super::experts::{RowTile, row_tile};
use super::float_words::{FloatWords, join, narrow_sum};
use super::format::KernelFormat;
use super::packed_weight::PackedWeight;
use load::{load_rows, load_weight};

/// The vectors in shared memory.
pub(crate) type Four = Vector<f32, Const<4>>;

/// The geometry of the rows; pitches count elements.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct GemmRows {
    pub n_rows: usize,
    pub pitch: usize,
    /// From one row of the output to the next, whole words.
    pub output_pitch: usize,
}

/// The division of a cube's tile of the output among its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GemmTile {
    /// Units along rows and along columns.
    pub units: (usize, usize),
    /// Vectors of four rows and of four columns that a unit has.
    pub vectors: (usize, usize),
    /// Terms of every sum that are in shared memory at a time, a multiple of 8.
    pub depth: usize,
}

impl GemmTile {
    pub const fn height(self) -> usize {
        4 * self.units.0 * self.vectors.0
    }

    pub const fn width(self) -> usize {
        4 * self.units.1 * self.vectors.1
    }

    pub const fn n_units(self) -> usize {
        self.units.0 * self.units.1
    }

    pub const fn shared_bytes(self) -> usize {
        16 * self.depth * (self.row_stride() + self.column_stride()) + 4 * self.height()
    }

    /// Vectors from one term to the next in shared memory. One more than needed, so that
    /// neighbouring terms are in different banks.
    const fn row_stride(self) -> usize {
        self.height() / 4 + 1
    }

    const fn column_stride(self) -> usize {
        self.width() / 4 + 1
    }
}

/// Which product, and for which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GemmKind {
    /// Rows times the weight instead of its transpose.
    pub backward: bool,
    /// Whether every row has an expert of its own.
    pub indexed: bool,
}

/// Rows times transposed weight, or times weight.
///
/// The cube decodes a tile of the weight once for all its rows; both tiles are in shared memory
/// with one vector for four neighbours of the same term. With experts, tiles consist of rows of one
/// expert, gathered by `order`, and `CUBE_POS_Y` counts them.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn gemm(
    input: &[u32],
    order: &[u32],
    counts: &[u32],
    codes: &[u32],
    scales: &[u32],
    global_scales: &[u32],
    output: &mut [u32],
    rows: GemmRows,
    weight: PackedWeight,
    #[comptime] tile: GemmTile,
    #[comptime] kind: GemmKind,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) {
    let row_tile = if comptime!(kind.indexed) {
        row_tile(
            counts,
            weight.experts,
            CUBE_POS_Y as usize,
            comptime!(tile.height()),
        )
    } else {
        let first = CUBE_POS_Y as usize * comptime!(tile.height());
        RowTile {
            expert: 0usize.runtime(),
            first,
            len: min(rows.n_rows - first, comptime!(tile.height())),
        }
    };
    if row_tile.len == 0 {
        terminate!();
    }
    let mut row_numbers = Shared::<[u32]>::new_slice(comptime!(tile.height()));
    for i in range_stepped(
        UNIT_POS as usize,
        comptime!(tile.height()),
        comptime!(tile.n_units()),
    ) {
        // Those beyond the end are the last one again.
        let place = row_tile.first + min(i, row_tile.len - 1);
        row_numbers[i] = if comptime!(kind.indexed) {
            order[place]
        } else {
            place as u32
        };
    }
    let mut row_values = Shared::<[Four]>::new_slice(comptime!(tile.depth * tile.row_stride()));
    let mut columns = Shared::<[Four]>::new_slice(comptime!(tile.depth * tile.column_stride()));
    let first_column = CUBE_POS_X as usize * comptime!(tile.width());
    let terms = if comptime!(kind.backward) {
        weight.d_output
    } else {
        weight.d_input
    };

    let mut sums = Array::<Four>::new(comptime!(4 * tile.vectors.0 * tile.vectors.1));
    #[unroll]
    for i in 0..comptime!(4 * tile.vectors.0 * tile.vectors.1) {
        sums[i] = Four::new(0.0f32);
    }
    for first_term in range_stepped(0usize, terms, tile.depth) {
        sync_cube();
        load_rows(
            input,
            &row_numbers,
            &mut row_values,
            first_term,
            terms,
            rows.pitch,
            tile,
            floats,
        );
        load_weight(
            codes,
            scales,
            global_scales,
            &mut columns,
            row_tile.expert,
            first_column,
            first_term,
            &weight,
            tile,
            kind.backward,
            format,
        );
        sync_cube();
        multiply(&row_values, &columns, &mut sums, tile);
    }
    let n_columns = if comptime!(kind.backward) {
        weight.d_input
    } else {
        weight.d_output
    };
    write(
        &sums,
        &row_numbers,
        output,
        row_tile.len,
        first_column,
        n_columns,
        rows.output_pitch,
        tile,
        floats,
    );
}

/// Adds the products of the terms in shared memory.
#[cube]
fn multiply(
    row_values: &Shared<[Four]>,
    columns: &Shared<[Four]>,
    sums: &mut Array<Four>,
    #[comptime] tile: GemmTile,
) {
    let unit_row = UNIT_POS as usize / tile.units.1;
    let unit_column = UNIT_POS as usize % tile.units.1;
    for term in 0..tile.depth {
        let mut b = Sequence::<Four>::new();
        #[unroll]
        for v in 0..comptime!(tile.vectors.1) {
            let at = term * comptime!(tile.column_stride()) + comptime!(v * tile.units.1);
            b.push(columns[at + unit_column]);
        }
        #[unroll]
        for u in 0..comptime!(tile.vectors.0) {
            let at = term * comptime!(tile.row_stride()) + comptime!(u * tile.units.0);
            let a = row_values[at + unit_row];
            #[unroll]
            for i in 0..4usize {
                #[unroll]
                for v in 0..comptime!(tile.vectors.1) {
                    let sum = comptime!((4 * u + i) * tile.vectors.1 + v);
                    sums[sum] = fma(Four::new(a.extract(i)), *b.index(v), sums[sum]);
                }
            }
        }
    }
}

/// Writes the sums of a unit.
#[cube]
#[allow(clippy::too_many_arguments)]
fn write(
    sums: &Array<Four>,
    row_numbers: &Shared<[u32]>,
    output: &mut [u32],
    n_rows: usize,
    first_column: usize,
    n_columns: usize,
    pitch: usize,
    #[comptime] tile: GemmTile,
    #[comptime] floats: FloatWords,
) {
    let per_word = comptime!(floats.per_word());
    let unit_row = UNIT_POS as usize / tile.units.1;
    let unit_column = UNIT_POS as usize % tile.units.1;
    #[unroll]
    for r in 0..comptime!(4 * tile.vectors.0) {
        let row = 4 * (comptime!(r / 4 * tile.units.0) + unit_row) + comptime!(r % 4);
        if row < n_rows {
            let first = row_numbers[row] as usize * pitch / per_word;
            #[unroll]
            for v in 0..comptime!(tile.vectors.1) {
                let sum = sums[comptime!(r * tile.vectors.1 + v)];
                let column = first_column + 4 * (comptime!(v * tile.units.1) + unit_column);
                #[unroll]
                for i in 0..comptime!(4 / per_word) {
                    let low = narrow_sum(sum.extract(comptime!(i * per_word)), floats);
                    let word = if comptime!(per_word == 1) {
                        low
                    } else {
                        join(low, narrow_sum(sum.extract(comptime!(2 * i + 1)), floats))
                    };
                    if column + comptime!(i * per_word) < n_columns {
                        output[first + column / per_word + i] = word;
                    }
                }
            }
        }
    }
}
