//! CubeCL, Burn's backend for GPUs.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::LinearBackend;
use crate::product::cube::column_sums::column_sums;
use crate::product::cube::gemm::matmul;
use crate::product::cube::rows::{Rows, backward, forward};
use crate::product::operand::OperandPrimitive;

impl LinearBackend for CubeBackend {
    fn linear_plain(x: FloatTensor<Self>, weight: OperandPrimitive<Self>) -> FloatTensor<Self> {
        forward(all(x), weight, None)
    }

    fn linear_with_bias(
        x: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        forward(all(x), weight, Some(bias))
    }

    fn linear_backward(
        grad: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
    ) -> FloatTensor<Self> {
        backward(all(grad), weight)
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

fn all(rows: CubeTensor) -> Rows<'static> {
    Rows {
        tensor: rows,
        routes: None,
        gathered: false,
    }
}

/// The same memory.
fn transposed(mut tensor: CubeTensor) -> CubeTensor {
    tensor.meta.swap(0, 1);
    tensor
}
