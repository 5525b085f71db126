use cubecl::prelude::*;

use burn_fp4::backend::cube::{Team, team_rank, team_row, team_sum};

/// Normalizes a row with every team.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn normalize<F: Float, N: Size>(
    input: &[Vector<F, N>],
    weight: &[Vector<f32, N>],
    output: &mut [Vector<F, N>],
    reciprocals: &mut [f32],
    n_rows: usize,
    n_vectors: usize,
    size: f32,
    epsilon: f32,
    #[comptime] team: Team,
    #[define(F)] _dtype: ElemType,
) {
    let row = team_row(team);
    if row >= n_rows {
        terminate!();
    }
    let (rank, first) = (team_rank(team), row * n_vectors);
    let mut squares = Vector::<f32, N>::new(0.0f32);
    for i in range_stepped(rank, n_vectors, team.units) {
        let x = Vector::<f32, N>::cast_from(input[first + i]);
        squares += x * x;
    }
    let mean = team_sum(squares.vector_sum(), team) / size;
    let reciprocal = 1.0f32 / f32::sqrt(mean + epsilon);
    let factor = Vector::<f32, N>::new(reciprocal);
    // The row is in the cache still.
    for i in range_stepped(rank, n_vectors, team.units) {
        let x = Vector::<f32, N>::cast_from(input[first + i]);
        output[first + i] = Vector::cast_from(x * factor * weight[i]);
    }
    if rank == 0 {
        reciprocals[row] = reciprocal;
    }
}
