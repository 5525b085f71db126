//! The straight-through estimator, for every backend that has the forward operation.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::Fp4Backend;
use crate::Fp4Scheme;

/// Backward rule: the derivative of rounding is taken to be 1 everywhere.
#[derive(Debug)]
struct StraightThrough;

impl<B: Backend> Backward<B, 1> for StraightThrough {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, grad);
        }
    }
}

/// Computes the forward again where checkpointing did not keep its result.
#[derive(Debug)]
struct Recompute<B: Backend> {
    input: NodeId,
    /// The constant that a frozen global scale is made from.
    amax: Option<FloatTensor<B>>,
    axis: usize,
    scheme: Fp4Scheme,
}

impl<B: Fp4Backend> Recompute<B> {
    fn quantize(&self, input: FloatTensor<B>) -> FloatTensor<B> {
        let (axis, scheme) = (self.axis, self.scheme);
        match self.amax.clone() {
            Some(amax) => B::fp4_fake_quantize_with_amax(input, amax, axis, scheme),
            None => B::fp4_fake_quantize(input, axis, scheme),
        }
    }
}

impl<B: Fp4Backend> RetroForward for Recompute<B> {
    fn forward(&self, states: &mut BackwardStates, out_node: NodeId) {
        let input = states.get_state::<FloatTensor<B>>(&self.input);
        states.save(out_node, self.quantize(input));
    }
}

fn straight_through<B: Fp4Backend, C: CheckpointStrategy>(
    tensor: FloatTensor<Autodiff<B, C>>,
    amax: Option<FloatTensor<B>>,
    axis: usize,
    scheme: Fp4Scheme,
) -> FloatTensor<Autodiff<B, C>> {
    let recompute = Recompute::<B> {
        input: tensor.id(),
        amax,
        axis,
        scheme,
    };
    let node = tensor.node();
    let out = recompute.quantize(tensor.clone().into_primitive());
    // Memory-bound, although it does arithmetic: keeping the result would cost a second copy
    // of every quantized weight, making it again costs one pass over memory.
    let prepared = Backward::<B, 1>::prepare::<C>(StraightThrough, [node])
        .memory_bound()
        .retro_forward(recompute)
        .parents([&tensor]);
    prepared.stateless(out)
}

impl<B: Fp4Backend, C: CheckpointStrategy> Fp4Backend for Autodiff<B, C> {
    fn fp4_fake_quantize(
        tensor: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        straight_through::<B, C>(tensor, None, axis, scheme)
    }

    fn fp4_fake_quantize_with_amax(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        straight_through::<B, C>(tensor, Some(amax.into_primitive()), axis, scheme)
    }
}
