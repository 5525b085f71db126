//! What the implementations for Flex, Burn's pure Rust CPU backend, share.

mod element;
pub(crate) mod matrices;
pub(crate) mod matrix;
pub(crate) mod product;

use std::borrow::Cow;

use burn::tensor::{DType, Element, Shape, TensorData};
use burn_flex::FlexTensor;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

pub use element::FloatElement;

/// Calls a function that is generic over the elements of a float tensor with those of `dtype`.
#[doc(hidden)]
#[macro_export]
macro_rules! with_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            burn::tensor::DType::F32 => {
                type $T = f32;
                $body
            }
            burn::tensor::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            burn::tensor::DType::F16 => {
                type $T = half::f16;
                $body
            }
            other => panic!("dtype {other:?} is not one of F32, BF16, F16"),
        }
    };
}
pub use with_float;

/// The elements of a tensor in row-major order, copied if it is a view that has them in another.
///
/// # Panics
/// If they have another type.
pub fn elements<T: Element + bytemuck::Pod>(tensor: &FlexTensor) -> Cow<'_, [T]> {
    assert_eq!(tensor.dtype(), T::dtype(), "dtype of an input");
    match tensor.as_slice() {
        Some(values) => Cow::Borrowed(values),
        None => match tensor.to_contiguous().into_data().try_into_vec() {
            Ok(values) => Cow::Owned(values),
            Err(error) => panic!("{error}"),
        },
    }
}

/// Indices of any integer type.
///
/// # Panics
/// If one is negative.
pub fn indices(tensor: FlexTensor) -> Vec<usize> {
    match tensor.into_data().try_into_vec_as::<i64>() {
        Ok(values) => values.into_iter().map(index).collect(),
        Err(error) => panic!("{error}"),
    }
}

fn index(value: i64) -> usize {
    match usize::try_from(value) {
        Ok(value) => value,
        Err(_) => panic!("index {value} is negative"),
    }
}

/// The tensor of values in row-major order.
pub fn tensor<T: Element>(values: Vec<T>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A contiguous float32 tensor in another float type.
pub fn narrowed(values: Vec<f32>, shape: impl Into<Shape>, dtype: DType) -> FlexTensor {
    with_float!(dtype, T => tensor(T::narrowed(values), shape))
}

/// All elements as float32, in row-major order; those of a float32 tensor as [`elements`] does.
///
/// # Panics
/// If they are not `f32`, `bf16` or `f16`.
pub fn floats(tensor: &FlexTensor) -> Cow<'_, [f32]> {
    match tensor.dtype() {
        DType::F32 => elements(tensor),
        DType::BF16 => Cow::Owned(elements::<bf16>(tensor).to_f32_vec()),
        DType::F16 => Cow::Owned(elements::<f16>(tensor).to_f32_vec()),
        other => panic!("dtype {other:?} is not one of F32, BF16, F16"),
    }
}
