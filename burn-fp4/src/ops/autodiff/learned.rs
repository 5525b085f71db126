//! Fake quantization with learned scales: gradients for the tensor and for the parameter.

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::fake_quantize::Options;
use crate::ops::Fp4Backend;

fn forward<B: Fp4Backend>(
    tensor: FloatTensor<B>,
    parameter: FloatTensor<B>,
    options: &Options<B>,
) -> FloatTensor<B> {
    let amax = options.amax.clone();
    B::fp4_learned_quantize(tensor, parameter, amax, options.axis, options.scheme)
}

/// Computes the forward again where checkpointing did not keep its result.
#[derive(Debug)]
struct Recompute<B: Fp4Backend> {
    tensor: NodeId,
    parameter: NodeId,
    options: Options<B>,
}

impl<B: Fp4Backend> RetroForward for Recompute<B> {
    fn forward(&self, states: &mut BackwardStates, out_node: NodeId) {
        let tensor = states.get_state::<FloatTensor<B>>(&self.tensor);
        let parameter = states.get_state::<FloatTensor<B>>(&self.parameter);
        states.save(out_node, forward::<B>(tensor, parameter, &self.options));
    }
}

#[derive(Debug)]
struct LearnedScales;

impl<B: Fp4Backend> Backward<B, 2> for LearnedScales {
    type State = (NodeId, NodeId, Options<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let [tensor_node, parameter_node] = ops.parents;
        let (tensor, parameter, Options { amax, axis, scheme }) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let tensor = checkpointer.retrieve_node_output(tensor);
        let parameter = checkpointer.retrieve_node_output(parameter);
        let gradients = B::fp4_learned_gradients(grad, tensor, parameter, amax, axis, scheme);
        if let Some(node) = tensor_node {
            grads.register::<B>(node.id, gradients.tensor);
        }
        if let Some(node) = parameter_node {
            grads.register::<B>(node.id, gradients.parameter);
        }
    }
}

pub(super) fn quantize<B: Fp4Backend, C: CheckpointStrategy>(
    tensor: FloatTensor<Autodiff<B, C>>,
    parameter: FloatTensor<Autodiff<B, C>>,
    options: Options<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let recompute = Recompute {
        tensor: tensor.id(),
        parameter: parameter.id(),
        options: options.clone(),
    };
    let nodes = [tensor.node(), parameter.node()];
    let prepared = Backward::<B, 2>::prepare::<C>(LearnedScales, nodes)
        .memory_bound()
        .retro_forward(recompute)
        .parents([&tensor, &parameter]);
    match prepared.stateful() {
        OpsKind::Tracked(mut prepared) => {
            let ids = (
                prepared.checkpoint(&tensor),
                prepared.checkpoint(&parameter),
            );
            let (tensor, parameter) = (tensor.into_primitive(), parameter.into_primitive());
            let out = forward::<B>(tensor, parameter, &options);
            prepared.finish((ids.0, ids.1, options), out)
        }
        OpsKind::UnTracked(prepared) => {
            let (tensor, parameter) = (tensor.into_primitive(), parameter.into_primitive());
            prepared.finish(forward::<B>(tensor, parameter, &options))
        }
    }
}
