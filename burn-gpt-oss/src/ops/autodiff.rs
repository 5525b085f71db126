use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use burn_fp4::{Fp4Primitive, Fp4Scheme};

use super::extension::{GroupedBackend, rows_gradient, weight_gradient};
use super::packed;

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

/// The packed weight is frozen, and the gradient of the rows needs nothing else.
#[derive(Debug)]
struct GroupedFp4Linear;

impl<B: GroupedBackend> Backward<B, 1> for GroupedFp4Linear {
    /// Shares the buffers of the weight.
    type State = (Fp4Primitive<B>, Vec<usize>, Fp4Scheme);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [rows] = ops.parents;
        let (weight, counts, scheme) = ops.state;
        let grad: FloatTensor<B> = grads.consume::<B>(&ops.node);
        if let Some(rows) = rows {
            let grad = packed::rows_gradient::<B>(&grad, &weight, &counts, scheme);
            grads.register::<B>(rows.id, grad);
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

    fn grouped_fp4_linear(
        rows: FloatTensor<Self>,
        weight: Fp4Primitive<Self>,
        counts: Vec<usize>,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let weight = Fp4Primitive {
            codes: weight.codes,
            scales: weight.scales,
            global_scales: weight.global_scales.into_primitive(),
        };
        let prepared = Backward::<B, 1>::prepare::<C>(GroupedFp4Linear, [rows.node()]);
        let prepared = prepared.compute_bound().stateful();
        let output = B::grouped_fp4_linear(
            rows.into_primitive(),
            weight.clone(),
            counts.clone(),
            scheme,
        );
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((weight, counts, scheme), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}
