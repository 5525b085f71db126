//! Flex, Burn's pure Rust CPU backend: the slice functions on its buffers.

mod elementwise;
mod learned;
mod packed;

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Element, FloatDType};
use burn_flex::FlexTensor;
use half::{bf16, f16};

use super::{Fp4Backend, Fp4Primitive, GradientRule, LearnedGradients};
use crate::codec::element::Fp4Element;
use crate::codec::non_finite::NonFinite;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::product::flex::{elements, tensor as new_tensor, with_float};
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalAmax;

/// The float types of Flex that this crate has loops for.
trait FlexElement: Fp4Element + Element + bytemuck::Pod {}

impl FlexElement for f32 {}
impl FlexElement for bf16 {}
impl FlexElement for f16 {}

impl Fp4Backend for Flex {
    fn fp4_amax(tensor: FloatTensor<Self>, scheme: Fp4Scheme) -> FloatTensor<Self> {
        with_float!(tensor.dtype(), T => elementwise::amax::<T>(&tensor, scheme))
    }

    fn fp4_fake_quantize(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
        _gradient: GradientRule,
    ) -> FloatTensor<Self> {
        let quantizer = quantizer(scheme, &amax);
        with_float!(tensor.dtype(), T => elementwise::fake_quantize::<T>(&tensor, axis, &quantizer))
    }

    fn fp4_clip_gradient(
        grad: FloatTensor<Self>,
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let quantizer = quantizer(scheme, &amax);
        with_float!(tensor.dtype(), T => elementwise::clip_gradient::<T>(&grad, &tensor, axis, &quantizer))
    }

    fn fp4_quantize(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> Fp4Primitive<Self> {
        let quantizer = quantizer(scheme, &amax);
        with_float!(tensor.dtype(), T => packed::quantize::<T>(&tensor, axis, &quantizer))
    }

    fn fp4_dequantize(
        packed: Fp4Primitive<Self>,
        axis: usize,
        dtype: FloatDType,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        with_float!(DType::from(dtype), T => packed::dequantize::<T>(&packed, axis, scheme))
    }

    fn fp4_learned_quantize(
        tensor: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let quantizer = quantizer(scheme, &amax);
        with_float!(tensor.dtype(), T => learned::quantize::<T>(&tensor, &parameter, axis, &quantizer))
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
        with_float!(tensor.dtype(), T => learned::gradients::<T>(&grad, &tensor, &parameter, axis, &quantizer))
    }

    fn fp8_fake_quantize(tensor: FloatTensor<Self>, amax: FloatTensor<Self>) -> FloatTensor<Self> {
        with_float!(tensor.dtype(), T => elementwise::fp8_fake_quantize::<T>(&tensor, &amax))
    }
}

/// What trains: the given largest magnitudes, and values that are not finite saturate.
fn quantizer(scheme: Fp4Scheme, amax: &FlexTensor) -> SliceQuantizer {
    let amax = elements::<f32>(amax).into_owned();
    SliceQuantizer::new(scheme)
        .with_global_amax(GlobalAmax::Frozen(amax))
        .with_non_finite(NonFinite::Saturate)
}

/// The value of a slice function; what it refuses is a mistake of the caller.
fn expect<T>(result: Result<T, crate::Fp4Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("FP4: {error}"),
    }
}
