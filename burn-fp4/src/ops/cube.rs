//! CubeCL, Burn's backend for GPUs: the launches of the kernels.
//!
//! What has no kernel (scale rules that search, learned scales) is computed on the host by Flex.
#![allow(unsafe_code)]

mod amax;
pub(crate) mod buffer;
mod clip_gradient;
mod dequantize;
mod fake_quantize;
mod fp8;
mod geometry;
pub(crate) mod host;
mod lines;
mod memory_layout;
mod quantize;

use burn::backend::tensor::FloatTensor;
use burn::tensor::FloatDType;
use burn_cubecl::CubeBackend;

use super::{Fp4Backend, Fp4Primitive, GradientRule, LearnedGradients};
use crate::scheme::Fp4Scheme;

impl Fp4Backend for CubeBackend {
    fn fp4_amax(tensor: FloatTensor<Self>, scheme: Fp4Scheme) -> FloatTensor<Self> {
        amax::amax(tensor, &scheme)
    }

    fn fp4_fake_quantize(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
        gradient: GradientRule,
    ) -> FloatTensor<Self> {
        match buffer::format(&tensor, &scheme) {
            Some(format) => fake_quantize::fake_quantize(tensor, amax, axis, &scheme, format),
            None => host::fake_quantize(tensor, amax, axis, scheme, gradient),
        }
    }

    fn fp4_clip_gradient(
        grad: FloatTensor<Self>,
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        match buffer::format(&tensor, &scheme) {
            Some(format) => clip_gradient::clip_gradient(grad, tensor, amax, axis, &scheme, format),
            None => host::clip_gradient(grad, tensor, amax, axis, scheme),
        }
    }

    fn fp4_quantize(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> Fp4Primitive<Self> {
        match buffer::format(&tensor, &scheme) {
            Some(format) => quantize::quantize(tensor, amax, axis, &scheme, format),
            None => host::quantize(tensor, amax, axis, scheme),
        }
    }

    fn fp4_dequantize(
        packed: Fp4Primitive<Self>,
        axis: usize,
        dtype: FloatDType,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        dequantize::dequantize(packed, axis, dtype, &scheme)
    }

    fn fp4_learned_quantize(
        tensor: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        host::learned_quantize(tensor, parameter, amax, axis, scheme)
    }

    fn fp4_learned_gradients(
        grad: FloatTensor<Self>,
        tensor: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> LearnedGradients<Self> {
        host::learned_gradients(grad, tensor, parameter, amax, axis, scheme)
    }

    fn fp8_fake_quantize(tensor: FloatTensor<Self>, amax: FloatTensor<Self>) -> FloatTensor<Self> {
        fp8::fake_quantize(tensor, amax)
    }
}
