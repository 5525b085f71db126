//! The step as one operation of a backend.

#[cfg(feature = "_cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(all(feature = "_cube", feature = "fusion"))]
mod fusion;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchDevice, ExtensionType, backend_extension};
use burn::optim::{AdamWState, AdaptiveMomentumState};
use burn::tensor::{DType, Tensor};

use super::AdamWFactors;

/// Whether there is the operation for these tensors.
pub(super) fn is_possible<const D: usize>(
    weight: &Tensor<D>,
    grad: &Tensor<D>,
    state: Option<&AdamWState<D>>,
) -> bool {
    let dtype = weight.dtype();
    let possible = match weight.device().as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => dtype == DType::F32,
        #[cfg(feature = "_cube")]
        DispatchDevice::Cube(_) => [DType::F32, DType::BF16, DType::F16].contains(&dtype),
        #[allow(unreachable_patterns)]
        _ => false,
    };
    let of_moments = state.map_or([dtype; 2], |state| {
        let momentum = &state.momentum;
        [momentum.moment_1.dtype(), momentum.moment_2.dtype()]
    });
    possible && grad.dtype() == dtype && of_moments == [dtype; 2]
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
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub struct AdamWUpdated<B: Backend> {
    /// The weight.
    pub weight: FloatTensor<B>,
    /// Mean of the gradients.
    pub moment_1: FloatTensor<B>,
    /// Mean of their squares.
    pub moment_2: FloatTensor<B>,
}

/// Backends with AdamW as one operation.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait AdamWBackend: Backend {
    /// One step of all elements; the four tensors have the same shape and dtype, float32 on Flex.
    #[fusion(meta = fusion::updated)]
    fn adamw_update(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        factors: AdamWFactors,
    ) -> AdamWUpdated<Self>;
}
