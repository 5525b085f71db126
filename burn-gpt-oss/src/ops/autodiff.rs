use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::extension::{GroupedBackend, rows_gradient, weight_gradient};

/// What the backward pass needs: rows and weight as checkpoints (either is absent when the other
/// side needs no gradient), and the group sizes.
type State = (Option<NodeId>, Option<NodeId>, Vec<usize>);

#[derive(Debug)]
struct GroupedMatmul;

impl<B: Backend> Backward<B, 2> for GroupedMatmul {
    type State = State;

    fn backward(self, ops: Ops<State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [rows_node, weight_node] = ops.parents;
        let (rows, weight, counts) = ops.state;
        let grad: FloatTensor<B> = grads.consume::<B>(&ops.node);
        if let (Some(node), Some(weight)) = (rows_node, weight) {
            let weight = checkpointer.retrieve_node_output(weight);
            grads.register::<B>(node.id, rows_gradient::<B>(&grad, weight, &counts));
        }
        if let (Some(node), Some(rows)) = (weight_node, rows) {
            let rows = checkpointer.retrieve_node_output(rows);
            grads.register::<B>(node.id, weight_gradient::<B>(&grad, rows, &counts));
        }
    }
}

impl<B: GroupedBackend, C: CheckpointStrategy> GroupedBackend for Autodiff<B, C> {
    fn grouped_matmul(
        rows: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        counts: Vec<usize>,
    ) -> FloatTensor<Self> {
        let nodes = [rows.node(), weight.node()];
        match Backward::<B, 2>::prepare::<C>(GroupedMatmul, nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prep) => {
                // A frozen weight needs no rows in the backward pass, constant rows no weight.
                let kept_rows = weight.is_tracked().then(|| prep.checkpoint(&rows));
                let kept_weight = rows.is_tracked().then(|| prep.checkpoint(&weight));
                let state = (kept_rows, kept_weight, counts.clone());
                let output =
                    B::grouped_matmul(rows.into_primitive(), weight.into_primitive(), counts);
                prep.finish(state, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::grouped_matmul(
                rows.into_primitive(),
                weight.into_primitive(),
                counts,
            )),
        }
    }
}
