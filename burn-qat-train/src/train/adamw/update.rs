//! The step as one operation of Flex.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchDevice, ExtensionType, Flex, backend_extension};
use burn::optim::{AdamWState, AdaptiveMomentumState};
use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::AdamWFactors;

/// Elements of a task: what four buffers have of them fits into a second-level cache.
const CHUNK: usize = 16 * 1024;

/// Whether there is the operation for these tensors.
pub(super) fn is_possible<const D: usize>(weight: &Tensor<D>, grad: &Tensor<D>) -> bool {
    matches!(weight.device().as_dispatch(), DispatchDevice::Flex(_))
        && [weight.dtype(), grad.dtype()] == [DType::F32; 2]
}

/// The weight and the state after one step.
pub(super) fn step<const D: usize>(
    weight: Tensor<D>,
    grad: Tensor<D>,
    state: Option<AdamWState<D>>,
    factors: AdamWFactors,
) -> (Tensor<D>, AdamWState<D>) {
    let momentum = state.map_or_else(
        || AdaptiveMomentumState::new(0, weight.zeros_like(), weight.zeros_like()),
        |state| state.momentum,
    );
    let updated = <Dispatch as AdamWBackend>::adamw_update(
        weight.into_dispatch(),
        grad.into_dispatch(),
        momentum.moment_1.into_dispatch(),
        momentum.moment_2.into_dispatch(),
        factors,
    );
    let momentum = AdaptiveMomentumState {
        time: momentum.time + 1,
        moment_1: Tensor::from_dispatch(updated.moment_1),
        moment_2: Tensor::from_dispatch(updated.moment_2),
        max_moment_2: momentum.max_moment_2,
    };
    (
        Tensor::from_dispatch(updated.weight),
        AdamWState::new(momentum),
    )
}

/// What an update gives.
#[derive(Clone, Debug, ExtensionType)]
pub struct Updated<B: Backend> {
    weight: FloatTensor<B>,
    moment_1: FloatTensor<B>,
    moment_2: FloatTensor<B>,
}

/// Backends with AdamW as one operation.
#[backend_extension(Flex)]
pub trait AdamWBackend: Backend {
    /// One step of all elements; the four tensors have the same shape.
    fn adamw_update(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        factors: AdamWFactors,
    ) -> Updated<Self>;
}

impl AdamWBackend for Flex {
    fn adamw_update(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        factors: AdamWFactors,
    ) -> Updated<Self> {
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
        Updated {
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
