//! With `n = input * reciprocal` and `g = grad * weight`, the gradients are
//! `(g - n * mean(g * n)) * reciprocal` and `grad * n`.

use cubecl::prelude::*;

use burn_fp4::backend::cube::{Team, team_rank, team_row, team_sum};

/// Both gradients of `rows_each` rows with every cube; a unit has `turns` vectors of each.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn gradients_of_rows<F: Float, N: Size>(
    grad: &[Vector<F, N>],
    input: &[Vector<F, N>],
    weight: &[Vector<f32, N>],
    reciprocals: &[f32],
    by_input: &mut [Vector<F, N>],
    partials: &mut [Vector<f32, N>],
    n_rows: usize,
    rows_each: usize,
    n_vectors: usize,
    size: f32,
    #[comptime] turns: usize,
    #[comptime] team: Team,
    #[define(F)] _dtype: ElemType,
) {
    let first_row = CUBE_POS * rows_each;
    if first_row >= n_rows {
        terminate!();
    }
    let rank = UNIT_POS as usize;
    let mut sums = Array::<Vector<f32, N>>::new(turns);
    let mut weighted = Array::<Vector<f32, N>>::new(turns);
    let mut normed = Array::<Vector<f32, N>>::new(turns);
    #[unroll]
    for t in 0..turns {
        sums[t] = Vector::new(0.0f32);
    }
    for row in first_row..min(first_row + rows_each, n_rows) {
        let reciprocal = reciprocals[row];
        let factor = Vector::<f32, N>::new(reciprocal);
        let first = row * n_vectors;
        let mut products = Vector::<f32, N>::new(0.0f32);
        #[unroll]
        for t in 0..turns {
            let i = rank + comptime!(t * team.units);
            if i < n_vectors {
                let g = Vector::<f32, N>::cast_from(grad[first + i]);
                let n = Vector::<f32, N>::cast_from(input[first + i]) * factor;
                let sum = sums[t] + g * n;
                sums[t] = sum;
                normed[t] = n;
                weighted[t] = g * weight[i];
                products += n * weighted[t];
            }
        }
        let mean = Vector::<f32, N>::new(team_sum(products.vector_sum(), team) / size);
        #[unroll]
        for t in 0..turns {
            let i = rank + comptime!(t * team.units);
            if i < n_vectors {
                let value = (weighted[t] - normed[t] * mean) * factor;
                by_input[first + i] = Vector::cast_from(value);
            }
        }
    }
    #[unroll]
    for t in 0..turns {
        let i = rank + comptime!(t * team.units);
        if i < n_vectors {
            partials[CUBE_POS * n_vectors + i] = sums[t];
        }
    }
}

/// The gradient of a row of the input with every team.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn input_gradient<F: Float, N: Size>(
    grad: &[Vector<F, N>],
    input: &[Vector<F, N>],
    weight: &[Vector<f32, N>],
    reciprocals: &[f32],
    by_input: &mut [Vector<F, N>],
    n_rows: usize,
    n_vectors: usize,
    size: f32,
    #[comptime] team: Team,
    #[define(F)] _dtype: ElemType,
) {
    let row = team_row(team);
    if row >= n_rows {
        terminate!();
    }
    let (rank, first) = (team_rank(team), row * n_vectors);
    let factor = Vector::<f32, N>::new(reciprocals[row]);
    let mut products = Vector::<f32, N>::new(0.0f32);
    for i in range_stepped(rank, n_vectors, team.units) {
        let g = Vector::<f32, N>::cast_from(grad[first + i]) * weight[i];
        products += g * (Vector::<f32, N>::cast_from(input[first + i]) * factor);
    }
    let mean = Vector::<f32, N>::new(team_sum(products.vector_sum(), team) / size);
    for i in range_stepped(rank, n_vectors, team.units) {
        let g = Vector::<f32, N>::cast_from(grad[first + i]) * weight[i];
        let n = Vector::<f32, N>::cast_from(input[first + i]) * factor;
        by_input[first + i] = Vector::cast_from((g - n * mean) * factor);
    }
}

/// The gradient of a vector of the weight by `rows_each` rows with every unit.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn weight_partials<F: Float, N: Size>(
    grad: &[Vector<F, N>],
    input: &[Vector<F, N>],
    reciprocals: &[f32],
    partials: &mut [Vector<f32, N>],
    n_rows: usize,
    rows_each: usize,
    n_vectors: usize,
    n_units: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n_units {
        terminate!();
    }
    let first_row = ABSOLUTE_POS / n_vectors * rows_each;
    let column = ABSOLUTE_POS % n_vectors;
    let mut sum = Vector::<f32, N>::new(0.0f32);
    for row in first_row..min(first_row + rows_each, n_rows) {
        let at = row * n_vectors + column;
        let factor = Vector::<f32, N>::new(reciprocals[row]);
        let n = Vector::<f32, N>::cast_from(input[at]) * factor;
        sum += Vector::<f32, N>::cast_from(grad[at]) * n;
    }
    partials[ABSOLUTE_POS] = sum;
}
