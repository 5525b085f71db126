//! Shapes and dtypes of results before they are computed, for lazy execution.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, Shape};

pub(super) fn with_gradients(
    hidden: &TensorSpec,
    weight: &TensorSpec,
    _targets: &TensorSpec,
    _row_weights: &TensorSpec,
    wanted: &[bool; 2],
) -> (TensorSpec, TensorSpec, TensorSpec) {
    let one = || TensorSpec::new(Shape::new([1]), DType::F32);
    let gradient = |of: &TensorSpec, wanted: bool| match wanted {
        true => TensorSpec::new(of.shape.clone(), DType::F32),
        false => one(),
    };
    (
        one(),
        gradient(hidden, wanted[0]),
        gradient(weight, wanted[1]),
    )
}
