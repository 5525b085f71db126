//! Shapes and dtypes of results before they are computed, for lazy execution.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::Shape;

pub(super) fn linear_plain(x: &TensorSpec, weight: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([x.shape[0], weight.shape[1]]), x.dtype)
}

pub(super) fn linear_with_bias(
    x: &TensorSpec,
    weight: &TensorSpec,
    _bias: &TensorSpec,
) -> TensorSpec {
    linear_plain(x, weight)
}

pub(super) fn backward(grad: &TensorSpec, weight: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([grad.shape[0], weight.shape[0]]), grad.dtype)
}

pub(super) fn weight_gradient(x: &TensorSpec, grad: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([x.shape[1], grad.shape[1]]), x.dtype)
}

pub(super) fn bias_gradient(grad: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([grad.shape[1]]), grad.dtype)
}
