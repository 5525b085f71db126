use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::LinearBackend;
use crate::product::operand::OperandPrimitive;
use crate::product::saved::Saved;

/// The inputs; each absent where nothing needs it.
#[derive(Clone, Debug)]
struct State<B: Backend> {
    x: Option<NodeId>,
    weight: Option<Saved<B>>,
}

#[derive(Debug)]
struct Linear;

impl<B: LinearBackend> Backward<B, 2> for Linear {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        register::<B>(parents, grad, ops.state, grads, saved);
    }
}

#[derive(Debug)]
struct LinearWithBias;

impl<B: LinearBackend> Backward<B, 3> for LinearWithBias {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 3>, grads: &mut Gradients, saved: &mut Checkpointer) {
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
    state: State<B>,
    grads: &mut Gradients,
    saved: &mut Checkpointer,
) {
    if let (Some(node), Some(x)) = (weight_node, state.x) {
        let x = saved.retrieve_node_output(x);
        grads.register::<B>(node, B::linear_weight_gradient(x, grad.clone()));
    }
    if let (Some(node), Some(weight)) = (x_node, state.weight) {
        grads.register::<B>(node, B::linear_backward(grad, weight.retrieve(saved)));
    }
}

impl<B: LinearBackend, C: CheckpointStrategy> LinearBackend for Autodiff<B, C> {
    fn linear_plain(x: FloatTensor<Self>, weight: OperandPrimitive<Self>) -> FloatTensor<Self> {
        let prepared =
            Backward::<B, 2>::prepare::<C>(Linear, [x.node(), weight.floats()[0].node()]);
        let run = |x: FloatTensor<Self>, weight: OperandPrimitive<Self>| {
            B::linear_plain(x.into_primitive(), weight.into_inner())
        };
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let state = State {
                    x: weight.is_tracked().then(|| prepared.checkpoint(&x)),
                    weight: x
                        .is_tracked()
                        .then(|| weight.save(|dense| prepared.checkpoint(dense))),
                };
                prepared.finish(state, run(x, weight))
            }
            OpsKind::UnTracked(prepared) => prepared.finish(run(x, weight)),
        }
    }

    fn linear_with_bias(
        x: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.floats()[0].node(), bias.node()];
        let prepared = Backward::<B, 3>::prepare::<C>(LinearWithBias, nodes);
        let run =
            |x: FloatTensor<Self>, weight: OperandPrimitive<Self>, bias: FloatTensor<Self>| {
                let (x, weight) = (x.into_primitive(), weight.into_inner());
                B::linear_with_bias(x, weight, bias.into_primitive())
            };
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let state = State {
                    x: weight.is_tracked().then(|| prepared.checkpoint(&x)),
                    weight: x
                        .is_tracked()
                        .then(|| weight.save(|dense| prepared.checkpoint(dense))),
                };
                prepared.finish(state, run(x, weight, bias))
            }
            OpsKind::UnTracked(prepared) => prepared.finish(run(x, weight, bias)),
        }
    }

    fn linear_backward(
        grad: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
    ) -> FloatTensor<Self> {
        let gradient = B::linear_backward(grad.into_primitive(), weight.into_inner());
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
