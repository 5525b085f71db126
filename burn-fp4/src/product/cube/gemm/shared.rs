//! Products by multiply-adds in `f32`, with tiles of both factors in shared memory.

use cubecl::prelude::*;

use super::element::{global_factor, lhs_element, rhs_element, term_factor, write_element};
use super::geometry::{GemmKind, GemmShape, part};
use crate::ops::kernels::format::KernelFormat;

/// The vectors in shared memory: four neighbours of the output, of one term.
type Four = Vector<f32, Const<4>>;

/// The division of a cube's tile of the output among its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UnitTile {
    /// Units along rows and along columns.
    pub units: (usize, usize),
    /// Vectors of four rows and of four columns that a unit has.
    pub vectors: (usize, usize),
    /// Terms of every sum that are in shared memory at a time.
    pub depth: usize,
}

impl UnitTile {
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
        16 * self.depth * (pitch(self.height()) + pitch(self.width()))
    }
}

/// Vectors from one term to the next. One more than needed, so that neighbouring terms are in different
/// banks.
const fn pitch(len: usize) -> usize {
    len / 4 + 1
}

/// `lhs rhs`, or one such product for every expert; as
/// [`plane_tiles`](super::tensor_cores::plane_tiles), in elements.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn unit_tiles<F: Float, R: Float, O: Float>(
    lhs: &[F],
    rhs: ComptimeOption<&[R]>,
    codes: ComptimeOption<&[u32]>,
    scales: ComptimeOption<&[u32]>,
    global_scales: ComptimeOption<&[f32]>,
    order: ComptimeOption<&[u32]>,
    offsets: ComptimeOption<&[u32]>,
    bias: ComptimeOption<&[F]>,
    scores: ComptimeOption<&[F]>,
    output: &mut [O],
    shape: GemmShape,
    #[comptime] kind: GemmKind,
    #[comptime] tile: UnitTile,
    #[comptime] format: Option<KernelFormat>,
    #[define(F)] _input: ElemType,
    #[define(R)] _right: ElemType,
    #[define(O)] _output_type: ElemType,
) {
    let first_column = CUBE_POS_X as usize * comptime!(tile.width());
    let part = part(
        offsets,
        &shape,
        kind,
        comptime!(tile.height()),
        first_column,
    );
    if part.n_rows == 0 {
        terminate!();
    }
    let row_pitch = comptime!(pitch(tile.height()));
    let column_pitch = comptime!(pitch(tile.width()));
    let mut rows = Shared::<[Four]>::new_slice(comptime!(tile.depth * row_pitch));
    let mut columns = Shared::<[Four]>::new_slice(comptime!(tile.depth * column_pitch));
    let mut sums = Array::<Four>::new(comptime!(4 * tile.vectors.0 * tile.vectors.1));
    #[unroll]
    for i in 0..comptime!(4 * tile.vectors.0 * tile.vectors.1) {
        sums[i] = Four::new(0.0f32);
    }
    for step in 0..part.n_terms.div_ceil(tile.depth) {
        let first_term = step * tile.depth;
        #[unroll]
        for load in 0..comptime!(loads(tile.height(), tile)) {
            let (at, quad) = place(
                load,
                comptime!(tile.height()),
                comptime!(kind.lhs_rows),
                tile,
            );
            let term = min(first_term + at, part.n_terms - 1);
            let inside = first_term + at < part.n_terms;
            let mut vector = Four::empty();
            #[unroll]
            for i in 0..4usize {
                let row = min(4 * quad + i, part.n_rows - 1);
                let value = lhs_element(lhs, order, &part, &shape, row, term, kind);
                vector.insert(i, select(inside, value, 0.0f32));
            }
            rows[at * row_pitch + quad] = vector;
        }
        #[unroll]
        for load in 0..comptime!(loads(tile.width(), tile)) {
            let (at, quad) = place(
                load,
                comptime!(tile.width()),
                comptime!(!kind.rhs_terms),
                tile,
            );
            let term = min(first_term + at, part.n_terms - 1);
            let inside = first_term + at < part.n_terms;
            let factor = term_factor(scores, order, &part, term);
            let mut vector = Four::empty();
            #[unroll]
            for j in 0..4usize {
                let column = min(first_column + 4 * quad + j, shape.n_columns - 1);
                let value = rhs_element(
                    rhs, codes, scales, order, &part, &shape, term, column, kind, format,
                );
                vector.insert(j, select(inside, value * factor, 0.0f32));
            }
            columns[at * column_pitch + quad] = vector;
        }
        sync_cube();
        multiply(&rows, &columns, &mut sums, tile);
        sync_cube();
    }
    let factor = global_factor(global_scales, part.expert, &shape);
    let unit_row = UNIT_POS as usize / tile.units.1;
    let unit_column = UNIT_POS as usize % tile.units.1;
    #[unroll]
    for r in 0..comptime!(4 * tile.vectors.0) {
        let row = 4 * (comptime!(r / 4 * tile.units.0) + unit_row) + comptime!(r % 4);
        #[unroll]
        for v in 0..comptime!(tile.vectors.1) {
            let sum = sums[comptime!(r * tile.vectors.1 + v)];
            #[unroll]
            for j in 0..4usize {
                let column = first_column + 4 * (comptime!(v * tile.units.1) + unit_column) + j;
                if row < part.n_rows && column < shape.n_columns {
                    let sum = sum.extract(j) * factor;
                    write_element(output, bias, &part, &shape, sum, row, column);
                }
            }
        }
    }
}

/// Vectors that a unit loads of a tile that reaches over `len` rows or columns.
const fn loads(len: usize, tile: UnitTile) -> usize {
    (tile.depth * len / 4).div_ceil(tile.n_units())
}

/// The term and the vector of a load. Neighbouring units have neighbours in memory.
#[cube]
fn place(
    #[comptime] load: usize,
    #[comptime] len: usize,
    #[comptime] terms_are_neighbours: bool,
    #[comptime] tile: UnitTile,
) -> (usize, usize) {
    let task = UNIT_POS as usize + comptime!(load * tile.n_units());
    if comptime!(terms_are_neighbours) {
        (task % tile.depth, task / tile.depth)
    } else {
        (task / comptime!(len / 4), task % comptime!(len / 4))
    }
}

/// Adds the products of the terms in shared memory.
#[cube]
fn multiply(
    rows: &Shared<[Four]>,
    columns: &Shared<[Four]>,
    sums: &mut Array<Four>,
    #[comptime] tile: UnitTile,
) {
    let unit_row = UNIT_POS as usize / tile.units.1;
    let unit_column = UNIT_POS as usize % tile.units.1;
    for turn in 0..comptime!(tile.depth / 4) {
        #[unroll]
        for t in 0..4usize {
            let term = turn * 4 + t;
            let mut b = Sequence::<Four>::new();
            #[unroll]
            for v in 0..comptime!(tile.vectors.1) {
                let at = term * comptime!(pitch(tile.width())) + comptime!(v * tile.units.1);
                b.push(columns[at + unit_column]);
            }
            #[unroll]
            for u in 0..comptime!(tile.vectors.0) {
                let at = term * comptime!(pitch(tile.height())) + comptime!(u * tile.units.0);
                let a = rows[at + unit_row];
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
}
