//! CubeCL, Burn's backend for GPUs: launches and kernels.
#![allow(unsafe_code)]
// The language of kernels has neither iterators nor all methods of integers.
#![allow(clippy::needless_range_loop, clippy::manual_is_multiple_of)]

mod backward;
mod exponential;
mod forward;
mod geometry;
mod mma;
mod problem;
#[cfg(all(test, feature = "cuda"))]
mod ptx;
mod rows;
mod statistics;

use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;

use super::extension::{
    AttentionBackend, AttentionInputs, AttentionOptions, AttentionOutput, KeySegments,
};
use problem::Problem;

impl AttentionBackend for CubeBackend {
    fn sink_attention(
        inputs: AttentionInputs<Self>,
        segments: KeySegments<Self>,
        options: AttentionOptions,
    ) -> AttentionOutput<Self> {
        forward::run(&Problem::new(inputs, segments, options))
    }

    fn sink_attention_backward(
        grad: FloatTensor<Self>,
        inputs: AttentionInputs<Self>,
        output: AttentionOutput<Self>,
        segments: KeySegments<Self>,
        options: AttentionOptions,
    ) -> AttentionInputs<Self> {
        let sink_dtype = inputs.sinks.dtype;
        let problem = Problem::new(inputs, segments, options);
        backward::run(grad, &problem, output, sink_dtype)
    }
}
