//! Fake quantization: straight through, or zero where rounding saturates.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use crate::ops::{Fp4Backend, GradientRule};
use crate::scheme::Fp4Scheme;

/// Everything but the tensor. The magnitudes are a handful of numbers and are kept.
#[derive(Clone, Debug)]
pub(super) struct Options<B: Backend> {
    pub amax: FloatTensor<B>,
    pub axis: usize,
    pub scheme: Fp4Scheme,
}

impl<B: Fp4Backend> Options<B> {
    fn forward(&self, tensor: FloatTensor<B>) -> FloatTensor<B> {
        let gradient = GradientRule::StraightThrough;
        B::fp4_fake_quantize(tensor, self.amax.clone(), self.axis, self.scheme, gradient)
    }
}

/// Computes the forward again where checkpointing did not keep its result.
#[derive(Debug)]
struct Recompute<B: Backend> {
    input: NodeId,
    options: Options<B>,
}

impl<B: Fp4Backend> RetroForward for Recompute<B> {
    fn forward(&self, states: &mut BackwardStates, out_node: NodeId) {
        let input = states.get_state::<FloatTensor<B>>(&self.input);
        states.save(out_node, self.options.forward(input));
    }
}

/// Backward rule: the derivative of rounding is taken to be 1 everywhere.
#[derive(Debug)]
pub(super) struct StraightThrough;

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

/// Both rules are memory-bound, although they do arithmetic: keeping the result would cost a second
/// copy of every quantized weight, making it again costs one pass over memory.
pub(super) fn straight_through<B: Fp4Backend, C: CheckpointStrategy>(
    tensor: FloatTensor<Autodiff<B, C>>,
    options: Options<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let recompute = Recompute {
        input: tensor.id(),
        options: options.clone(),
    };
    let prepared = Backward::<B, 1>::prepare::<C>(StraightThrough, [tensor.node()])
        .memory_bound()
        .retro_forward(recompute)
        .parents([&tensor]);
    prepared.stateless(options.forward(tensor.into_primitive()))
}

/// Backward rule: the derivative is 0 where rounding saturates, else 1.
#[derive(Debug)]
struct ClipAware;

impl<B: Fp4Backend> Backward<B, 1> for ClipAware {
    type State = (NodeId, Options<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let [parent] = ops.parents;
        let (input, options) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let tensor = checkpointer.retrieve_node_output(input);
        if let Some(parent) = parent {
            let Options { amax, axis, scheme } = options;
            let grad = B::fp4_clip_gradient(grad, tensor, amax, axis, scheme);
            grads.register::<B>(parent.id, grad);
        }
    }
}

pub(super) fn clip_aware<B: Fp4Backend, C: CheckpointStrategy>(
    tensor: FloatTensor<Autodiff<B, C>>,
    options: Options<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let recompute = Recompute {
        input: tensor.id(),
        options: options.clone(),
    };
    let prepared = Backward::<B, 1>::prepare::<C>(ClipAware, [tensor.node()])
        .memory_bound()
        .retro_forward(recompute)
        .parents([&tensor]);
    match prepared.stateful() {
        OpsKind::Tracked(mut prepared) => {
            let input = prepared.checkpoint(&tensor);
            let out = options.forward(tensor.into_primitive());
            prepared.finish((input, options), out)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(options.forward(tensor.into_primitive())),
    }
}
