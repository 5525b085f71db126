//! From logits to the loss and its gradient by them.

use rayon::prelude::*;

use super::Rows;
use crate::ops::exponential::flex::exp;
use burn_fp4::backend::flex::{Kernel, dispatch};

/// Partial results of a row, in registers.
const LANES: usize = 32;

/// Elements whose exponentials are summed in float32 before they go into a sum in float64.
const SPAN: usize = 4096;

/// Sum of the weighted losses; with `gradient`, each row of logits becomes the gradient of its loss.
pub(super) fn loss(logits: &mut [f32], rows: Rows<'_>, gradient: bool) -> f64 {
    let Some(vocabulary) = logits.len().checked_div(rows.targets.len()) else {
        return 0.0;
    };
    let known = rows.targets.par_iter().zip(rows.weights);
    let lines = logits.par_chunks_mut(vocabulary).zip(known);
    let losses = lines.map(|(logits, (target, weight))| {
        f64::from(*weight)
            * dispatch(Row {
                logits,
                target: *target,
                weight: *weight,
                gradient,
            })
    });
    // In order: a parallel sum would depend on how the rows were split.
    losses.collect::<Vec<_>>().into_iter().sum()
}

struct Row<'a> {
    logits: &'a mut [f32],
    target: usize,
    weight: f32,
    gradient: bool,
}

impl Kernel for Row<'_> {
    type Output = f64;
    const WIDE: bool = true;

    /// The loss of the row, without its weight.
    #[inline(always)]
    fn run(self) -> f64 {
        let largest = largest(self.logits);
        let target = self.logits[self.target];
        let total = exponentials(self.logits, largest);
        if self.gradient {
            let scale = (f64::from(self.weight) / total) as f32;
            self.logits.iter_mut().for_each(|x| *x *= scale);
            self.logits[self.target] -= self.weight;
        }
        total.ln() + (f64::from(largest) - f64::from(target))
    }
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > lane { *value } else { *lane };
        }
    }
    let rest = chunks.remainder();
    lanes.iter().chain(rest).copied().fold(lanes[0], f32::max)
}

/// Replaces the values by `exp(value - largest)` and returns their sum.
#[inline(always)]
fn exponentials(values: &mut [f32], largest: f32) -> f64 {
    let mut total = 0.0;
    for span in values.chunks_mut(SPAN) {
        let mut lanes = [0.0; LANES];
        let mut chunks = span.chunks_exact_mut(LANES);
        for chunk in &mut chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *value = exp(*value - largest);
                *lane += *value;
            }
        }
        let mut rest = 0.0;
        for value in chunks.into_remainder() {
            *value = exp(*value - largest);
            rest += *value;
        }
        total += f64::from(lanes.iter().sum::<f32>() + rest);
    }
    total
}
