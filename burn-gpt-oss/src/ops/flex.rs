//! What the implementations for Flex, Burn's pure Rust CPU backend, share.

mod element;
mod exp;
mod product;
mod simd;

use std::borrow::Cow;

use burn::tensor::{Element, Shape, TensorData};
use burn_flex::FlexTensor;

pub(super) use element::FloatElement;
pub(super) use exp::exp;
pub(super) use product::{Matrix, MatrixMut, product};
pub(super) use simd::{Kernel, dispatch, dot};

/// Calls a function that is generic over the elements of a float tensor with those of `dtype`.
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
pub(super) use with_float;

/// The elements of a tensor in row-major order, copied if it is a view that has them in another.
pub(super) fn elements<T: Element + bytemuck::Pod>(tensor: &FlexTensor) -> Cow<'_, [T]> {
    assert_eq!(tensor.dtype(), T::dtype(), "dtype of an input");
    match tensor.as_slice() {
        Some(values) => Cow::Borrowed(values),
        None => match tensor.to_contiguous().into_data().try_into_vec() {
            Ok(values) => Cow::Owned(values),
            Err(error) => panic!("{error}"),
        },
    }
}

pub(super) fn tensor<T: Element>(values: Vec<T>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
