//! Flex, Burn's pure Rust CPU backend: tiles of queries times tiles of keys.

mod backward;
mod forward;
mod geometry;
mod mask;
mod rows;
mod softmax;

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_flex::FlexTensor;

use super::extension::{
    AttentionBackend, AttentionInputs, AttentionOptions, AttentionOutput, KeySegments,
};
use burn_fp4::backend::flex::{FloatElement, elements, tensor, with_float};

impl AttentionBackend for Flex {
    fn sink_attention(
        inputs: AttentionInputs<Self>,
        segments: KeySegments<Self>,
        options: AttentionOptions,
    ) -> AttentionOutput<Self> {
        with_float!(inputs.query.dtype(), T => forward::run::<T>(&inputs, &segments, &options))
    }

    fn sink_attention_backward(
        grad: FloatTensor<Self>,
        inputs: AttentionInputs<Self>,
        output: AttentionOutput<Self>,
        segments: KeySegments<Self>,
        options: AttentionOptions,
    ) -> AttentionInputs<Self> {
        with_float!(inputs.query.dtype(), T => {
            backward::run::<T>(&grad, &inputs, &output, &segments, &options)
        })
    }
}

/// The gradient of the sinks in their own dtype.
fn sink_gradient(values: &[f32], dtype: DType) -> FlexTensor {
    with_float!(dtype, T => {
        let mut out = vec![T::default(); values.len()];
        T::narrow(values, &mut out);
        tensor(out, [values.len()])
    })
}

/// Sinks in float32. One of minus infinity is no sink; a finite one keeps `inf - inf` away.
fn sinks(tensor: &FlexTensor) -> Vec<f32> {
    let mut space = Vec::new();
    let sinks = with_float!(tensor.dtype(), T => {
        T::widen(&elements::<T>(tensor), &mut space).to_vec()
    });
    sinks.into_iter().map(|sink| sink.max(f32::MIN)).collect()
}
