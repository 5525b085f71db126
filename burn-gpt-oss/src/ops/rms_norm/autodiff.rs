use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::RmsNormBackend;

#[derive(Debug)]
struct RmsNorm;

impl<B: RmsNormBackend> Backward<B, 2> for RmsNorm {
    /// Input, weight, and the reciprocals of the rows.
    type State = (NodeId, NodeId, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (input, weight, reciprocals) = ops.state;
        let by_both = B::rms_norm_gradients(
            grads.consume::<B>(&ops.node),
            checkpointer.retrieve_node_output(input),
            checkpointer.retrieve_node_output(weight),
            reciprocals,
        );
        for (parent, gradient) in ops.parents.into_iter().zip(<[_; 2]>::from(by_both)) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: RmsNormBackend, C: CheckpointStrategy> RmsNormBackend for Autodiff<B, C> {
    fn rms_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let prepared = Backward::<B, 2>::prepare::<C>(RmsNorm, [input.node(), weight.node()]);
        let run = |input: FloatTensor<Self>, weight: FloatTensor<Self>| {
            B::rms_norm(input.into_primitive(), weight.into_primitive(), epsilon)
        };
        let (output, reciprocals) = match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let nodes = (prepared.checkpoint(&input), prepared.checkpoint(&weight));
                let (output, reciprocals) = run(input, weight);
                let state = (nodes.0, nodes.1, reciprocals.clone());
                (prepared.finish(state, output), reciprocals)
            }
            OpsKind::UnTracked(prepared) => {
                let (output, reciprocals) = run(input, weight);
                (prepared.finish(output), reciprocals)
            }
        };
        (output, <FloatTensor<Self>>::new(reciprocals))
    }

    fn rms_norm_gradients(
        grad: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        reciprocals: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (by_input, by_weight) = B::rms_norm_gradients(
            grad.into_primitive(),
            input.into_primitive(),
            weight.into_primitive(),
            reciprocals.into_primitive(),
        );
        let constant = <FloatTensor<Self>>::new;
        (constant(by_input), constant(by_weight))
    }
}
