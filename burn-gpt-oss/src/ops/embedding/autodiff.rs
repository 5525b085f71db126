use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, TensorMetadata};

use super::EmbeddingBackend;

#[derive(Debug)]
struct Embedding;

impl<B: EmbeddingBackend> Backward<B, 1> for Embedding {
    /// Ids and the number of rows there are.
    type State = (IntTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let (ids, vocab_size) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(parent) = parent {
            let grad = B::embedding_rows_gradient(grad, ids, vocab_size);
            grads.register::<B>(parent.id, grad);
        }
    }
}

impl<B: EmbeddingBackend, C: CheckpointStrategy> EmbeddingBackend for Autodiff<B, C> {
    fn embedding_rows(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let prepared = Backward::<B, 1>::prepare::<C>(Embedding, [weight.node()]);
        let prepared = prepared.compute_bound().stateful();
        let weight = weight.into_primitive();
        let vocab_size = weight.shape()[0];
        let output = B::embedding_rows(weight, ids.clone());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((ids, vocab_size), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn embedding_rows_gradient(
        grad: FloatTensor<Self>,
        ids: IntTensor<Self>,
        vocab_size: usize,
    ) -> FloatTensor<Self> {
        let gradient = B::embedding_rows_gradient(grad.into_primitive(), ids, vocab_size);
        <FloatTensor<Self>>::new(gradient)
    }
}
