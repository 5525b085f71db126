//! The kernel. A team has some outputs of some rows; its units take turns at the vectors of the columns.
// The language of kernels has neither iterators nor all methods of integers.
#![allow(clippy::needless_range_loop, clippy::manual_is_multiple_of)]

use cubecl::prelude::*;

use crate::ops::cube::{Team, team_rank, team_row, team_sum};

/// The geometry of the factors; pitches in vectors.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct GemvShape {
    pub n_rows: usize,
    pub n_outputs: usize,
    /// Vectors of a row, and of a column of the matrix.
    pub n_vectors: usize,
    pub row_pitch: usize,
    pub column_pitch: usize,
}

/// What a team has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GemvSplit {
    pub rows: usize,
    pub outputs: usize,
    pub team: Team,
}

/// Rows times the columns of a matrix.
///
/// Teams with the same columns are neighbours, so that the second of them finds those in the cache.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn gemv<F: Float, R: Float, O: Float, N: Size>(
    rows: &[Vector<F, N>],
    columns: &[Vector<R, N>],
    bias: ComptimeOption<&[F]>,
    output: &mut [O],
    shape: GemvShape,
    #[comptime] split: GemvSplit,
    #[define(F)] _row_type: ElemType,
    #[define(R)] _column_type: ElemType,
    #[define(O)] _output_type: ElemType,
) {
    let row_groups = shape.n_rows.div_ceil(split.rows);
    let number = team_row(split.team);
    let first_output = number / row_groups * split.outputs;
    let first_row = number % row_groups * split.rows;
    if first_output >= shape.n_outputs {
        terminate!();
    }
    let mut sums = Array::<Vector<f32, N>>::new(comptime!(split.rows * split.outputs));
    #[unroll]
    for i in 0..comptime!(split.rows * split.outputs) {
        sums[i] = Vector::new(0.0f32);
    }
    let rank = team_rank(split.team);
    for vector in range_stepped(rank, shape.n_vectors, split.team.units) {
        let mut weights = Sequence::<Vector<f32, N>>::new();
        #[unroll]
        for j in 0..comptime!(split.outputs) {
            let column = min(first_output + j, shape.n_outputs - 1);
            let weight = columns[column * shape.column_pitch + vector];
            weights.push(Vector::cast_from(weight));
        }
        #[unroll]
        for r in 0..comptime!(split.rows) {
            let row = min(first_row + r, shape.n_rows - 1);
            let x = Vector::<f32, N>::cast_from(rows[row * shape.row_pitch + vector]);
            #[unroll]
            for j in 0..comptime!(split.outputs) {
                let i = comptime!(r * split.outputs + j);
                sums[i] = fma(x, *weights.index(j), sums[i]);
            }
        }
    }
    #[unroll]
    for r in 0..comptime!(split.rows) {
        #[unroll]
        for j in 0..comptime!(split.outputs) {
            let sum = sums[comptime!(r * split.outputs + j)].vector_sum();
            let sum = team_sum(sum, split.team);
            let (row, column) = (first_row + r, first_output + j);
            if rank == 0 && row < shape.n_rows && column < shape.n_outputs {
                #[comptime]
                let sum = match bias {
                    ComptimeOption::Some(bias) => sum + f32::cast_from(bias[column]),
                    ComptimeOption::None => sum,
                };
                output[row * shape.n_outputs + column] = O::cast_from(sum);
            }
        }
    }
}
