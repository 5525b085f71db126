//! Shapes and dtypes of results before they are computed, for lazy execution.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, FloatDType, Shape};

use super::extension::{Fp4PrimitiveMetadata, LearnedGradientsMetadata, amax_shape};
use crate::scheme::Fp4Scheme;

pub(super) fn quantize(
    tensor: &TensorSpec,
    _amax: &TensorSpec,
    axis: &usize,
    scheme: &Fp4Scheme,
) -> Fp4PrimitiveMetadata {
    let packed = |elements_per_byte: usize| {
        let mut shape = tensor.shape.to_vec();
        let len = shape.remove(*axis);
        shape.push(len / elements_per_byte);
        TensorSpec::new(Shape::from(shape), DType::U8)
    };
    Fp4PrimitiveMetadata {
        codes: packed(2),
        scales: packed(scheme.block_size()),
        global_scales: TensorSpec::new(amax_shape(&tensor.shape, scheme), DType::F32),
    }
}

pub(super) fn dequantize(
    packed: &Fp4PrimitiveMetadata,
    axis: &usize,
    dtype: &FloatDType,
    _scheme: &Fp4Scheme,
) -> TensorSpec {
    let mut shape = packed.codes.shape.to_vec();
    if let Some(bytes) = shape.pop() {
        shape.insert((*axis).min(shape.len()), bytes * 2);
    }
    TensorSpec::new(Shape::from(shape), (*dtype).into())
}

pub(super) fn learned_gradients(
    _grad: &TensorSpec,
    tensor: &TensorSpec,
    parameter: &TensorSpec,
    _amax: &TensorSpec,
    _axis: &usize,
    _scheme: &Fp4Scheme,
) -> LearnedGradientsMetadata {
    LearnedGradientsMetadata {
        tensor: tensor.clone(),
        parameter: parameter.clone(),
    }
}
