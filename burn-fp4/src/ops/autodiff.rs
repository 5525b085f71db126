//! The straight-through estimator, for every backend that has the forward operation.

use core::marker::PhantomData;

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
struct Recompute<B> {
    input: NodeId,
    axis: usize,
    scheme: Fp4Scheme,
    backend: PhantomData<B>,
}

impl<B: Fp4Backend> RetroForward for Recompute<B> {
    fn forward(&self, states: &mut BackwardStates, out_node: NodeId) {
        let input = states.get_state::<FloatTensor<B>>(&self.input);
        let out = B::fp4_fake_quantize(input, self.axis, self.scheme);
        states.save(out_node, out);
    }
}

impl<B: Fp4Backend, C: CheckpointStrategy> Fp4Backend for Autodiff<B, C> {
    fn fp4_fake_quantize(
        tensor: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let recompute = Recompute::<B> {
            input: tensor.id(),
            axis,
            scheme,
            backend: PhantomData,
        };
        // Memory-bound, although it does arithmetic: keeping the result would cost a second copy
        // of every quantized weight, making it again costs one pass over memory.
        let prepared = Backward::<B, 1>::prepare::<C>(StraightThrough, [tensor.node()])
            .memory_bound()
            .retro_forward(recompute)
            .parents([&tensor]);
        prepared.stateless(B::fp4_fake_quantize(tensor.into_primitive(), axis, scheme))
    }
}
