//! For CubeCL: a cube has a row, or a unit alone where units have no memory in common.
// The language of kernels has neither iterators nor all methods of integers.
#![allow(clippy::needless_range_loop, clippy::manual_is_multiple_of)]
#![allow(unsafe_code)]

mod forward;
mod gradients;
pub(in crate::ops) mod kernels;
mod rows;

use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;

use super::RmsNormBackend;

impl RmsNormBackend for CubeBackend {
    fn rms_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        forward::forward(input, weight, epsilon as f32)
    }

    fn rms_norm_gradients(
        grad: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        reciprocals: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        gradients::gradients(grad, input, weight, reciprocals)
    }
}
