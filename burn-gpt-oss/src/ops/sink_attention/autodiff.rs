//! Gradients, for every backend that has both passes.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::extension::{
    AttentionBackend, AttentionInputs, AttentionOptions, AttentionOutput, KeySegments,
};

#[derive(Debug)]
struct SinkAttention;

/// Inputs as checkpoints in the order of [`AttentionInputs`], and what the forward pass computed.
#[derive(Clone, Debug)]
struct State<B: Backend> {
    inputs: [NodeId; 4],
    output: AttentionOutput<B>,
    segments: KeySegments<B>,
    options: AttentionOptions,
}

impl<B: AttentionBackend> Backward<B, 4> for SinkAttention {
    type State = State<B>;

    fn backward(
        self,
        ops: Ops<State<B>, 4>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let State {
            inputs: [query, key, value, sinks],
            output,
            segments,
            options,
        } = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let inputs = AttentionInputs::<B> {
            query: checkpointer.retrieve_node_output(query),
            key: checkpointer.retrieve_node_output(key),
            value: checkpointer.retrieve_node_output(value),
            sinks: checkpointer.retrieve_node_output(sinks),
        };
        let gradients = B::sink_attention_backward(grad, inputs, output, segments, options);
        let AttentionInputs {
            query,
            key,
            value,
            sinks,
        } = gradients;
        for (node, gradient) in ops.parents.into_iter().zip([query, key, value, sinks]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: AttentionBackend, C: CheckpointStrategy> AttentionBackend for Autodiff<B, C> {
    fn sink_attention(
        inputs: AttentionInputs<Self>,
        segments: KeySegments<Self>,
        options: AttentionOptions,
    ) -> AttentionOutput<Self> {
        let segments = inner_segments(segments);
        let tensors = [&inputs.query, &inputs.key, &inputs.value, &inputs.sinks];
        let nodes = tensors.map(<FloatTensor<Self>>::node);
        let prepared = Backward::<B, 4>::prepare::<C>(SinkAttention, nodes).compute_bound();
        match prepared.stateful() {
            OpsKind::Tracked(mut prepared) => {
                let saved = tensors.map(|tensor| prepared.checkpoint(tensor));
                let output = B::sink_attention(inner(inputs), segments.clone(), options);
                let log_sum_exp = <FloatTensor<Self>>::new(output.log_sum_exp.clone());
                let state = State {
                    inputs: saved,
                    output: output.clone(),
                    segments,
                    options,
                };
                AttentionOutput {
                    output: prepared.finish(state, output.output),
                    log_sum_exp,
                }
            }
            OpsKind::UnTracked(prepared) => {
                let output = B::sink_attention(inner(inputs), segments, options);
                AttentionOutput {
                    output: prepared.finish(output.output),
                    log_sum_exp: <FloatTensor<Self>>::new(output.log_sum_exp),
                }
            }
        }
    }

    fn sink_attention_backward(
        grad: FloatTensor<Self>,
        inputs: AttentionInputs<Self>,
        output: AttentionOutput<Self>,
        segments: KeySegments<Self>,
        options: AttentionOptions,
    ) -> AttentionInputs<Self> {
        let output = AttentionOutput {
            output: output.output.into_primitive(),
            log_sum_exp: output.log_sum_exp.into_primitive(),
        };
        let (grad, inputs) = (grad.into_primitive(), inner(inputs));
        let segments = inner_segments(segments);
        let gradients = B::sink_attention_backward(grad, inputs, output, segments, options);
        AttentionInputs {
            query: <FloatTensor<Self>>::new(gradients.query),
            key: <FloatTensor<Self>>::new(gradients.key),
            value: <FloatTensor<Self>>::new(gradients.value),
            sinks: <FloatTensor<Self>>::new(gradients.sinks),
        }
    }
}

fn inner<B: Backend, C: CheckpointStrategy>(
    inputs: AttentionInputs<Autodiff<B, C>>,
) -> AttentionInputs<B> {
    AttentionInputs {
        query: inputs.query.into_primitive(),
        key: inputs.key.into_primitive(),
        value: inputs.value.into_primitive(),
        sinks: inputs.sinks.into_primitive(),
    }
}

fn inner_segments<B: Backend, C: CheckpointStrategy>(
    segments: KeySegments<Autodiff<B, C>>,
) -> KeySegments<B> {
    match segments {
        KeySegments::One => KeySegments::One,
        KeySegments::Numbered { numbers } => KeySegments::Numbered { numbers },
    }
}
