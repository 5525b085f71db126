//! CubeCL, Burn's backend for GPUs.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::LinearBackend;
use crate::ops::cube::column_sums::column_sums;
use crate::ops::cube::gemm::{matmul, matmul_with_bias};

impl LinearBackend for CubeBackend {
    fn linear_plain(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let dtype = x.dtype;
        matmul(x, weight, dtype)
    }

    fn linear_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let dtype = x.dtype;
        matmul_with_bias(x, weight, Some(bias), dtype)
    }

    fn linear_backward(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let dtype = grad.dtype;
        matmul(grad, transposed(weight), dtype)
    }

    fn linear_weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let dtype = x.dtype;
        matmul(transposed(x), grad, dtype)
    }

    fn linear_bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let d_output = grad.shape()[1];
        column_sums(grad, None, None, [d_output])
    }
}

/// The same memory.
fn transposed(mut tensor: CubeTensor) -> CubeTensor {
    tensor.meta.swap(0, 1);
    tensor
}
