use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::LinearBackend;

/// The inputs; each absent where nothing needs it.
#[derive(Clone, Debug)]
struct State {
    x: Option<NodeId>,
    weight: Option<NodeId>,
}

#[derive(Debug)]
struct Linear;

impl<B: LinearBackend> Backward<B, 2> for Linear {
    type State = State;

    fn backward(self, ops: Ops<State, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        register::<B>(parents, grad, ops.state, grads, saved);
    }
}

#[derive(Debug)]
struct LinearWithBias;

impl<B: LinearBackend> Backward<B, 3> for LinearWithBias {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [x, weight, bias] = ops.parents.map(|parent| parent.map(|node| node.id));
        if let Some(bias) = bias {
            grads.register::<B>(bias, B::linear_bias_gradient(grad.clone()));
        }
        register::<B>([x, weight], grad, ops.state, grads, saved);
    }
}

/// The gradients by both factors.
fn register<B: LinearBackend>(
    [x_node, weight_node]: [Option<NodeId>; 2],
    grad: FloatTensor<B>,
    state: State,
    grads: &mut Gradients,
    saved: &mut Checkpointer,
) {
    if let (Some(node), Some(x)) = (weight_node, state.x) {
        let x = saved.retrieve_node_output(x);
        grads.register::<B>(node, B::linear_weight_gradient(x, grad.clone()));
    }
    if let (Some(node), Some(weight)) = (x_node, state.weight) {
        let weight = saved.retrieve_node_output(weight);
        grads.register::<B>(node, B::linear_backward(grad, weight));
    }
}

impl<B: LinearBackend, C: CheckpointStrategy> LinearBackend for Autodiff<B, C> {
    fn linear_plain(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let prepared = Backward::<B, 2>::prepare::<C>(Linear, [x.node(), weight.node()]);
        let run = |x: FloatTensor<Self>, weight: FloatTensor<Self>| {
            B::linear_plain(x.into_primitive(), weight.into_primitive())
        };
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let state = State {
                    x: weight.is_tracked().then(|| prepared.checkpoint(&x)),
                    weight: x.is_tracked().then(|| prepared.checkpoint(&weight)),
                };
                prepared.finish(state, run(x, weight))
            }
            OpsKind::UnTracked(prepared) => prepared.finish(run(x, weight)),
        }
    }

    fn linear_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let prepared = Backward::<B, 3>::prepare::<C>(LinearWithBias, nodes);
        let run = |x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>| {
            let (x, weight) = (x.into_primitive(), weight.into_primitive());
            B::linear_with_bias(x, weight, bias.into_primitive())
        };
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let state = State {
                    x: weight.is_tracked().then(|| prepared.checkpoint(&x)),
                    weight: x.is_tracked().then(|| prepared.checkpoint(&weight)),
                };
                prepared.finish(state, run(x, weight, bias))
            }
            OpsKind::UnTracked(prepared) => prepared.finish(run(x, weight, bias)),
        }
    }

    fn linear_backward(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let gradient = B::linear_backward(grad.into_primitive(), weight.into_primitive());
        <FloatTensor<Self>>::new(gradient)
    }

    fn linear_weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let gradient = B::linear_weight_gradient(x.into_primitive(), grad.into_primitive());
        <FloatTensor<Self>>::new(gradient)
    }

    fn linear_bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        <FloatTensor<Self>>::new(B::linear_bias_gradient(grad.into_primitive()))
    }
}
