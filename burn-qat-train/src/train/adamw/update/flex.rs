//! For Flex: tasks of elements side by side.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{AdamWBackend, AdamWUpdated};
use crate::train::adamw::AdamWFactors;

/// Elements of a task: what four buffers have of them fits into a second-level cache.
const CHUNK: usize = 16 * 1024;

impl AdamWBackend for Flex {
    fn adamw_update(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        factors: AdamWFactors,
    ) -> AdamWUpdated<Self> {
        let [mut weight, mut moment_1, mut moment_2] = [weight, moment_1, moment_2].map(packed);
        let grad = packed(grad);
        elements(&mut weight)
            .par_chunks_mut(CHUNK)
            .zip(elements(&mut moment_1).par_chunks_mut(CHUNK))
            .zip(elements(&mut moment_2).par_chunks_mut(CHUNK))
            .zip(grad.storage::<f32>().par_chunks(CHUNK))
            .for_each(|(((weight, moment_1), moment_2), grad)| {
                update(weight, moment_1, moment_2, grad, factors);
            });
        AdamWUpdated {
            weight,
            moment_1,
            moment_2,
        }
    }
}

/// A tensor whose storage is its elements in order.
fn packed(x: FlexTensor) -> FlexTensor {
    let n_elements = x.layout().shape().num_elements();
    match x.layout().contiguous_offsets() {
        Some((0, end)) if end == n_elements && x.storage::<f32>().len() == n_elements => x,
        _ => x.to_contiguous(),
    }
}

/// The elements, copied before if others see them.
fn elements(x: &mut FlexTensor) -> &mut [f32] {
    x.storage_mut()
}

/// The order of operations is that of [`AdamW`](burn::optim::AdamW), each rounded by itself.
fn update(
    weight: &mut [f32],
    moment_1: &mut [f32],
    moment_2: &mut [f32],
    grad: &[f32],
    factors: AdamWFactors,
) {
    let (rest_1, rest_2) = (1.0 - factors.beta_1, 1.0 - factors.beta_2);
    let kept = factors.decay.unwrap_or(1.0);
    let moments = moment_1.iter_mut().zip(moment_2);
    for ((weight, (m, v)), g) in weight.iter_mut().zip(moments).zip(grad) {
        *m = *m * factors.beta_1 + g * rest_1;
        *v = *v * factors.beta_2 + g * g * rest_2;
        let root = (*v / factors.bias_2).sqrt() + factors.epsilon;
        let delta = *m / factors.bias_1 / root;
        *weight = *weight * kept - delta * factors.learning_rate;
    }
}
