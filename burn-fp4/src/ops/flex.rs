//! Flex, Burn's pure Rust CPU backend: the slice functions on its buffers.

mod elementwise;
mod learned;
mod packed;

use std::borrow::Cow;

use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Element, FloatDType, TensorData};
use burn_flex::FlexTensor;
use half::{bf16, f16};

use super::{Fp4Backend, Fp4Primitive, GradientRule, LearnedGradients, expert_linear, linear};
use crate::codec::element::Fp4Element;
use crate::codec::non_finite::NonFinite;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalAmax;

/// The float types of Flex that this crate has loops for.
trait FlexElement: Fp4Element + Element + bytemuck::Pod {}

impl FlexElement for f32 {}
impl FlexElement for bf16 {}
impl FlexElement for f16 {}

impl Fp4Backend for Flex {
    fn fp4_amax(tensor: FloatTensor<Self>, scheme: Fp4Scheme) -> FloatTensor<Self> {
        match tensor.dtype() {
            DType::F32 => elementwise::amax::<f32>(&tensor, scheme),
            DType::BF16 => elementwise::amax::<bf16>(&tensor, scheme),
            DType::F16 => elementwise::amax::<f16>(&tensor, scheme),
            other => unsupported(other),
        }
    }

    fn fp4_fake_quantize(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
        _gradient: GradientRule,
    ) -> FloatTensor<Self> {
        let quantizer = quantizer(scheme, &amax);
        match tensor.dtype() {
            DType::F32 => elementwise::fake_quantize::<f32>(&tensor, axis, &quantizer),
            DType::BF16 => elementwise::fake_quantize::<bf16>(&tensor, axis, &quantizer),
            DType::F16 => elementwise::fake_quantize::<f16>(&tensor, axis, &quantizer),
            other => unsupported(other),
        }
    }

    fn fp4_clip_gradient(
        grad: FloatTensor<Self>,
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let quantizer = quantizer(scheme, &amax);
        match tensor.dtype() {
            DType::F32 => elementwise::clip_gradient::<f32>(&grad, &tensor, axis, &quantizer),
            DType::BF16 => elementwise::clip_gradient::<bf16>(&grad, &tensor, axis, &quantizer),
            DType::F16 => elementwise::clip_gradient::<f16>(&grad, &tensor, axis, &quantizer),
            other => unsupported(other),
        }
    }

    fn fp4_quantize(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> Fp4Primitive<Self> {
        let quantizer = quantizer(scheme, &amax);
        match tensor.dtype() {
            DType::F32 => packed::quantize::<f32>(&tensor, axis, &quantizer),
            DType::BF16 => packed::quantize::<bf16>(&tensor, axis, &quantizer),
            DType::F16 => packed::quantize::<f16>(&tensor, axis, &quantizer),
            other => unsupported(other),
        }
    }

    fn fp4_dequantize(
        packed: Fp4Primitive<Self>,
        axis: usize,
        dtype: FloatDType,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        match dtype {
            FloatDType::F32 => packed::dequantize::<f32>(&packed, axis, scheme),
            FloatDType::BF16 => packed::dequantize::<bf16>(&packed, axis, scheme),
            FloatDType::F16 => packed::dequantize::<f16>(&packed, axis, scheme),
            other => unsupported(other.into()),
        }
    }

    fn fp4_linear(
        rows: FloatTensor<Self>,
        weight: Fp4Primitive<Self>,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        linear::forward::<Self>(rows, &weight, scheme)
    }

    fn fp4_linear_backward(
        grad: FloatTensor<Self>,
        weight: Fp4Primitive<Self>,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        linear::backward::<Self>(grad, &weight, scheme)
    }

    fn fp4_expert_linear(
        rows: FloatTensor<Self>,
        experts: IntTensor<Self>,
        weight: Fp4Primitive<Self>,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let experts = indices(experts);
        expert_linear::by_expert(rows, &experts, &weight, scheme, linear::forward::<Self>)
    }

    fn fp4_expert_linear_backward(
        grad: FloatTensor<Self>,
        experts: IntTensor<Self>,
        weight: Fp4Primitive<Self>,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let experts = indices(experts);
        expert_linear::by_expert(grad, &experts, &weight, scheme, linear::backward::<Self>)
    }

    fn fp4_learned_quantize(
        tensor: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let quantizer = quantizer(scheme, &amax);
        match tensor.dtype() {
            DType::F32 => learned::quantize::<f32>(&tensor, &parameter, axis, &quantizer),
            DType::BF16 => learned::quantize::<bf16>(&tensor, &parameter, axis, &quantizer),
            DType::F16 => learned::quantize::<f16>(&tensor, &parameter, axis, &quantizer),
            other => unsupported(other),
        }
    }

    fn fp4_learned_gradients(
        grad: FloatTensor<Self>,
        tensor: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> LearnedGradients<Self> {
        let quantizer = quantizer(scheme, &amax);
        let gradients = match tensor.dtype() {
            DType::F32 => learned::gradients::<f32>,
            DType::BF16 => learned::gradients::<bf16>,
            DType::F16 => learned::gradients::<f16>,
            other => unsupported(other),
        };
        gradients(&grad, &tensor, &parameter, axis, &quantizer)
    }

    fn fp8_fake_quantize(tensor: FloatTensor<Self>, amax: FloatTensor<Self>) -> FloatTensor<Self> {
        match tensor.dtype() {
            DType::F32 => elementwise::fp8_fake_quantize::<f32>(&tensor, &amax),
            DType::BF16 => elementwise::fp8_fake_quantize::<bf16>(&tensor, &amax),
            DType::F16 => elementwise::fp8_fake_quantize::<f16>(&tensor, &amax),
            other => unsupported(other),
        }
    }
}

fn unsupported(dtype: DType) -> ! {
    panic!("FP4: dtype {dtype:?} is not one of F32, BF16, F16")
}

/// What trains: the given largest magnitudes, and values that are not finite saturate.
fn quantizer(scheme: Fp4Scheme, amax: &FlexTensor) -> SliceQuantizer {
    let amax = elements::<f32>(amax).into_owned();
    SliceQuantizer::new(scheme)
        .with_global_amax(GlobalAmax::Frozen(amax))
        .with_non_finite(NonFinite::Saturate)
}

/// Integers of any type.
fn indices(tensor: FlexTensor) -> Vec<i64> {
    match tensor.into_data().try_into_vec_as() {
        Ok(values) => values,
        Err(error) => panic!("FP4: {error}"),
    }
}

/// The elements of a tensor in row-major order, copied if it is a view that has them in another.
fn elements<T: Element + bytemuck::Pod>(tensor: &FlexTensor) -> Cow<'_, [T]> {
    assert_eq!(tensor.dtype(), T::dtype(), "FP4: dtype of an input");
    match tensor.as_slice() {
        Some(values) => Cow::Borrowed(values),
        None => match tensor.to_contiguous().into_data().try_into_vec() {
            Ok(values) => Cow::Owned(values),
            Err(error) => panic!("FP4: {error}"),
        },
    }
}

fn new<T: Element>(values: Vec<T>, shape: impl Into<burn::tensor::Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// The value of a slice function; what it refuses is a mistake of the caller.
fn expect<T>(result: Result<T, crate::Fp4Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("FP4: {error}"),
    }
}
