//! From logits to losses and their gradients.

use cubecl::prelude::*;

use crate::ops::exponential::cube::{exp_negative, ln};
use burn_fp4::backend::cube::{Team, team_max, team_rank, team_row, team_sum};

/// The loss of a row with every team, and what the gradient by its logits needs: the largest one, and
/// the weight of the row over the sum of exponentials.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn loss_of_rows<N: Size>(
    logits: &[Vector<f32, N>],
    targets: &[u32],
    weights: &[f32],
    losses: &mut [f32],
    largest: &mut [f32],
    factors: &mut [f32],
    first_row: usize,
    n_rows: usize,
    n_vectors: usize,
    #[comptime] span: usize,
    #[comptime] team: Team,
) {
    let row = team_row(team);
    if row >= n_rows {
        terminate!();
    }
    let (rank, first) = (team_rank(team), row * n_vectors);
    let (most, total) = exponentials(logits, first, n_vectors, rank, span, team);
    if rank == 0 {
        let at = first_row + row;
        let target = known(targets[at], n_vectors, N::value());
        let values = logits[first + target / N::value()];
        let mut of_target = 0.0f32;
        #[unroll]
        for i in 0..N::value() {
            let here = target % N::value() == i;
            of_target = select(here, values.extract(i), of_target);
        }
        losses[at] = weights[at] * (ln(total) + (most - of_target));
        largest[at] = most;
        factors[at] = weights[at] / total;
    }
}

/// The gradient by the logits, `(softmax - onehot(target)) * weight`, for a vector with every unit.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn logits_gradient<F: Float, N: Size>(
    logits: &[Vector<f32, N>],
    targets: &[u32],
    weights: &[f32],
    largest: &[f32],
    factors: &[f32],
    gradient: &mut [Vector<F, N>],
    first_row: usize,
    first_place: usize,
    n_vectors: usize,
    n_units: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n_units {
        terminate!();
    }
    let at = first_row + ABSOLUTE_POS / n_vectors;
    let column = ABSOLUTE_POS % n_vectors;
    let shift = Vector::<f32, N>::new(largest[at]);
    let factor = Vector::<f32, N>::new(factors[at]);
    let mut value = exp_negative(logits[ABSOLUTE_POS] - shift) * factor;
    let target = known(targets[at], n_vectors, N::value());
    if target / N::value() == column {
        let weight = weights[at];
        #[unroll]
        for i in 0..N::value() {
            let hot = select(target % N::value() == i, weight, 0.0f32);
            value.insert(i, value.extract(i) - hot);
        }
    }
    gradient[first_place * n_vectors + ABSOLUTE_POS] = Vector::cast_from(value);
}

/// A target; numbers that are none cannot be reported from here and count as the last one.
#[cube]
fn known(target: u32, n_vectors: usize, #[comptime] vector: usize) -> usize {
    min(target as usize, n_vectors * vector - 1)
}

/// The largest value of a row, and the sum of the exponentials of all values less it, in one pass.
#[cube]
fn exponentials<N: Size>(
    logits: &[Vector<f32, N>],
    first: usize,
    n_vectors: usize,
    rank: usize,
    #[comptime] span: usize,
    #[comptime] team: Team,
) -> (f32, f32) {
    let mut largest = logits[first].extract(0usize);
    let mut total = 0.0f32;
    for start in range_stepped(0usize, n_vectors, span) {
        let mut part = Vector::<f32, N>::new(0.0f32);
        for i in range_stepped(start + rank, min(start + span, n_vectors), team.units) {
            let values = logits[first + i];
            let mut most = largest;
            #[unroll]
            for j in 0..N::value() {
                most = max(most, values.extract(j));
            }
            if most > largest {
                let scale = exp_negative(Vector::<f32, Const<1>>::new(largest - most));
                let scale = scale.extract(0usize);
                total *= scale;
                part *= Vector::new(scale);
                largest = most;
            }
            part += exp_negative(values - Vector::new(largest));
        }
        total += part.vector_sum();
    }
    let largest_of_row = team_max(largest, team);
    let scale = exp_negative(Vector::<f32, Const<1>>::new(largest - largest_of_row));
    let total = team_sum(total * scale.extract(0usize), team);
    (largest_of_row, total)
}

/// The sum of all losses.
#[cube(launch_unchecked)]
pub(crate) fn sum_losses(losses: &[f32], total: &mut [f32], n_rows: usize, #[comptime] team: Team) {
    let mut sum = 0.0f32;
    for i in range_stepped(team_rank(team), n_rows, team.units) {
        sum += losses[i];
    }
    let sum = team_sum(sum, team);
    if team_rank(team) == 0 {
        total[0] = sum;
    }
}
