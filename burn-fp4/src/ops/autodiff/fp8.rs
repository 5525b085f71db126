//! FP8 fake quantization: straight through.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::Backward;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::fake_quantize::StraightThrough;
use crate::ops::Fp4Backend;

/// Computes the forward again where checkpointing did not keep its result.
#[derive(Debug)]
struct Recompute<B: Backend> {
    input: NodeId,
    amax: FloatTensor<B>,
}

impl<B: Fp4Backend> RetroForward for Recompute<B> {
    fn forward(&self, states: &mut BackwardStates, out_node: NodeId) {
        let input = states.get_state::<FloatTensor<B>>(&self.input);
        states.save(out_node, B::fp8_fake_quantize(input, self.amax.clone()));
    }
}

pub(super) fn fake_quantize<B: Fp4Backend, C: CheckpointStrategy>(
    tensor: FloatTensor<Autodiff<B, C>>,
    amax: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let recompute = Recompute::<B> {
        input: tensor.id(),
        amax: amax.clone(),
    };
    let prepared = Backward::<B, 1>::prepare::<C>(StraightThrough, [tensor.node()])
        .memory_bound()
        .retro_forward(recompute)
        .parents([&tensor]);
    prepared.stateless(B::fp8_fake_quantize(tensor.into_primitive(), amax))
}
