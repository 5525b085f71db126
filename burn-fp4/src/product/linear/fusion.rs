//! Shapes and dtypes of results before they are computed, for lazy execution.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::Shape;

use crate::product::operand::OperandPrimitiveMetadata;

pub(super) fn linear_plain(x: &TensorSpec, weight: &OperandPrimitiveMetadata) -> TensorSpec {
    let [_, d_output] = weight.widths();
    TensorSpec::new(Shape::new([x.shape[0], d_output]), x.dtype)
}

pub(super) fn linear_with_bias(
    x: &TensorSpec,
    weight: &OperandPrimitiveMetadata,
    _bias: &TensorSpec,
) -> TensorSpec {
    linear_plain(x, weight)
}

pub(super) fn backward(grad: &TensorSpec, weight: &OperandPrimitiveMetadata) -> TensorSpec {
    let [d_input, _] = weight.widths();
    TensorSpec::new(Shape::new([grad.shape[0], d_input]), grad.dtype)
}

pub(super) fn weight_gradient(x: &TensorSpec, grad: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([x.shape[1], grad.shape[1]]), x.dtype)
}

pub(super) fn bias_gradient(grad: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([grad.shape[1]]), grad.dtype)
}
