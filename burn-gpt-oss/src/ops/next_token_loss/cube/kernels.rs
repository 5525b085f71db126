//! From logits to losses and their gradients.

use cubecl::prelude::*;

use crate::ops::cube::{Team, team_max, team_rank, team_row, team_sum};

/// The loss of a row with every team, and the gradient by its logits,
/// `(softmax - onehot(target)) * weight`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn loss_of_rows<F: Float, N: Size>(
    logits: &[Vector<f32, N>],
    targets: &[u32],
    weights: &[f32],
    losses: &mut [f32],
    gradient: &mut [Vector<F, N>],
    first_row: usize,
    first_place: usize,
    n_rows: usize,
    n_vectors: usize,
    #[comptime] span: usize,
    #[comptime] wanted: bool,
    #[comptime] team: Team,
    #[define(F)] _dtype: ElemType,
) {
    let row = team_row(team);
    if row >= n_rows {
        terminate!();
    }
    let (rank, first) = (team_rank(team), row * n_vectors);
    let weight = weights[first_row + row];
    // Numbers that are no targets cannot be reported from here.
    let target = min(
        targets[first_row + row] as usize,
        n_vectors * N::value() - 1,
    );
    let (largest, total) = exponentials(logits, first, n_vectors, rank, span, team);
    let of_target = logits[first + target / N::value()];
    let mut target_logit = 0.0f32;
    #[unroll]
    for i in 0..N::value() {
        let here = target % N::value() == i;
        target_logit = select(here, of_target.extract(i), target_logit);
    }
    if rank == 0 {
        losses[first_row + row] = weight * (f32::ln(total) + (largest - target_logit));
    }
    if comptime!(wanted) {
        let shift = Vector::<f32, N>::new(largest);
        let factor = Vector::<f32, N>::new(weight / total);
        let place = (first_place + row) * n_vectors;
        for i in range_stepped(rank, n_vectors, team.units) {
            let value = Vector::exp(logits[first + i] - shift) * factor;
            gradient[place + i] = Vector::cast_from(value);
        }
        // By the unit that wrote it before.
        let at = target / N::value();
        if at % team.units == rank {
            let mut value = Vector::exp(of_target - shift) * factor;
            #[unroll]
            for i in 0..N::value() {
                let hot = select(target % N::value() == i, weight, 0.0f32);
                value.insert(i, value.extract(i) - hot);
            }
            gradient[place + at] = Vector::cast_from(value);
        }
    }
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
                let scale = f32::exp(largest - most);
                total *= scale;
                part *= Vector::new(scale);
                largest = most;
            }
            part += Vector::exp(values - Vector::new(largest));
        }
        total += part.vector_sum();
    }
    let largest_of_row = team_max(largest, team);
    let total = team_sum(total * f32::exp(largest - largest_of_row), team);
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
