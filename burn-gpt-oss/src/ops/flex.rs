//! Elements of Flex tensors, read and made as `f32`.

use std::borrow::Cow;

use burn::tensor::{DType, Element, Shape, TensorData};
use burn_flex::FlexTensor;
use bytemuck::Pod;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// The float types of Flex that operations compute with, as `f32`.
pub(crate) trait Float: Element + Pod + Send + Sync {
    fn widen(values: &[Self], out: &mut [f32]);

    /// Rounds to nearest.
    fn narrow(values: &[f32], out: &mut [Self]);
}

impl Float for f32 {
    fn widen(values: &[Self], out: &mut [f32]) {
        out.copy_from_slice(values);
    }

    fn narrow(values: &[f32], out: &mut [Self]) {
        out.copy_from_slice(values);
    }
}

impl Float for bf16 {
    fn widen(values: &[Self], out: &mut [f32]) {
        values.convert_to_f32_slice(out);
    }

    fn narrow(values: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(values);
    }
}

impl Float for f16 {
    fn widen(values: &[Self], out: &mut [f32]) {
        values.convert_to_f32_slice(out);
    }

    fn narrow(values: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(values);
    }
}

/// The elements of a tensor in row-major order, as they are if they are `f32` in that order.
pub(crate) fn floats(tensor: &FlexTensor) -> Cow<'_, [f32]> {
    match tensor.dtype() {
        DType::F32 => elements(tensor),
        DType::BF16 => Cow::Owned(widened::<bf16>(tensor)),
        DType::F16 => Cow::Owned(widened::<f16>(tensor)),
        other => unsupported(other),
    }
}

fn widened<T: Float>(tensor: &FlexTensor) -> Vec<f32> {
    let values = elements::<T>(tensor);
    let mut out = vec![0.0; values.len()];
    T::widen(&values, &mut out);
    out
}

/// The elements of a tensor in row-major order, copied if they have another.
pub(crate) fn elements<T: Element + Pod>(tensor: &FlexTensor) -> Cow<'_, [T]> {
    match tensor.as_slice() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(tensor.to_contiguous().storage::<T>().to_vec()),
    }
}

/// A tensor of `dtype`.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>, dtype: DType) -> FlexTensor {
    match dtype {
        DType::F32 => FlexTensor::from_data(TensorData::new(values, shape)),
        DType::BF16 => narrowed::<bf16>(&values, shape.into()),
        DType::F16 => narrowed::<f16>(&values, shape.into()),
        other => unsupported(other),
    }
}

fn narrowed<T: Float>(values: &[f32], shape: Shape) -> FlexTensor {
    let mut out = vec![T::zeroed(); values.len()];
    T::narrow(values, &mut out);
    FlexTensor::from_data(TensorData::new(out, shape))
}

pub(crate) fn unsupported(dtype: DType) -> ! {
    panic!("dtype {dtype:?} is not one of F32, BF16, F16")
}
