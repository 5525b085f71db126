//! Gradients, for every backend that has the forward operations.

mod fake_quantize;
mod fp8;
mod learned;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};
use burn::tensor::FloatDType;

use super::{Fp4Backend, Fp4Primitive, GradientRule, LearnedGradients};
use crate::scheme::Fp4Scheme;

impl<B: Fp4Backend, C: CheckpointStrategy> Fp4Backend for Autodiff<B, C> {
    fn fp4_amax(tensor: FloatTensor<Self>, scheme: Fp4Scheme) -> FloatTensor<Self> {
        <FloatTensor<Self>>::new(B::fp4_amax(tensor.into_primitive(), scheme))
    }

    fn fp4_fake_quantize(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
        gradient: GradientRule,
    ) -> FloatTensor<Self> {
        let options = fake_quantize::Options {
            amax: amax.into_primitive(),
            axis,
            scheme,
        };
        match gradient {
            GradientRule::StraightThrough => {
                fake_quantize::straight_through::<B, C>(tensor, options)
            }
            GradientRule::ClipAware => fake_quantize::clip_aware::<B, C>(tensor, options),
        }
    }

    fn fp4_clip_gradient(
        grad: FloatTensor<Self>,
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let (grad, tensor) = (grad.into_primitive(), tensor.into_primitive());
        let amax = amax.into_primitive();
        <FloatTensor<Self>>::new(B::fp4_clip_gradient(grad, tensor, amax, axis, scheme))
    }

    fn fp4_quantize(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> Fp4Primitive<Self> {
        let (tensor, amax) = (tensor.into_primitive(), amax.into_primitive());
        let packed = B::fp4_quantize(tensor, amax, axis, scheme);
        Fp4Primitive {
            codes: packed.codes,
            scales: packed.scales,
            global_scales: <FloatTensor<Self>>::new(packed.global_scales),
        }
    }

    fn fp4_dequantize(
        packed: Fp4Primitive<Self>,
        axis: usize,
        dtype: FloatDType,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let packed = inner::<B, C>(packed);
        <FloatTensor<Self>>::new(B::fp4_dequantize(packed, axis, dtype, scheme))
    }

    fn fp4_learned_quantize(
        tensor: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let options = fake_quantize::Options {
            amax: amax.into_primitive(),
            axis,
            scheme,
        };
        learned::quantize::<B, C>(tensor, parameter, options)
    }

    fn fp4_learned_gradients(
        grad: FloatTensor<Self>,
        tensor: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> LearnedGradients<Self> {
        let gradients = B::fp4_learned_gradients(
            grad.into_primitive(),
            tensor.into_primitive(),
            parameter.into_primitive(),
            amax.into_primitive(),
            axis,
            scheme,
        );
        LearnedGradients {
            tensor: <FloatTensor<Self>>::new(gradients.tensor),
            parameter: <FloatTensor<Self>>::new(gradients.parameter),
        }
    }

    fn fp8_fake_quantize(tensor: FloatTensor<Self>, amax: FloatTensor<Self>) -> FloatTensor<Self> {
        fp8::fake_quantize::<B, C>(tensor, amax.into_primitive())
    }
}

/// A packed tensor as the inner backend sees it.
pub(crate) fn inner<B: Backend, C: CheckpointStrategy>(
    packed: Fp4Primitive<Autodiff<B, C>>,
) -> Fp4Primitive<B> {
    Fp4Primitive {
        codes: packed.codes,
        scales: packed.scales,
        global_scales: packed.global_scales.into_primitive(),
    }
}
