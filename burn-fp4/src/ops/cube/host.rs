//! What has no kernel: down to the host, through Flex, and up again.

use burn::backend::Flex;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn_cubecl::ops::into_data_sync;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeDevice};
use burn_flex::FlexTensor;

use crate::ops::{Fp4Backend, Fp4Primitive, GradientRule, LearnedGradients};
use crate::scheme::Fp4Scheme;

pub(crate) fn down(tensor: CubeTensor) -> FlexTensor {
    FlexTensor::from_data(into_data_sync(tensor))
}

pub(crate) fn up(tensor: FlexTensor, device: &CubeDevice) -> CubeTensor {
    CubeBackend::float_from_data(tensor.into_data(), device)
}

pub(crate) fn up_bytes(tensor: FlexTensor, device: &CubeDevice) -> CubeTensor {
    CubeBackend::int_from_data(tensor.into_data(), device)
}

pub(super) fn fake_quantize(
    tensor: CubeTensor,
    amax: CubeTensor,
    axis: usize,
    scheme: Fp4Scheme,
    gradient: GradientRule,
) -> CubeTensor {
    let device = tensor.device.clone();
    let out = Flex::fp4_fake_quantize(down(tensor), down(amax), axis, scheme, gradient);
    up(out, &device)
}

pub(super) fn clip_gradient(
    grad: CubeTensor,
    tensor: CubeTensor,
    amax: CubeTensor,
    axis: usize,
    scheme: Fp4Scheme,
) -> CubeTensor {
    let device = tensor.device.clone();
    let (grad, tensor) = (down(grad), down(tensor));
    up(
        Flex::fp4_clip_gradient(grad, tensor, down(amax), axis, scheme),
        &device,
    )
}

pub(super) fn quantize(
    tensor: CubeTensor,
    amax: CubeTensor,
    axis: usize,
    scheme: Fp4Scheme,
) -> Fp4Primitive<CubeBackend> {
    let device = tensor.device.clone();
    let packed = Flex::fp4_quantize(down(tensor), down(amax), axis, scheme);
    Fp4Primitive {
        codes: up_bytes(packed.codes, &device),
        scales: up_bytes(packed.scales, &device),
        global_scales: up(packed.global_scales, &device),
    }
}

pub(super) fn learned_quantize(
    tensor: CubeTensor,
    parameter: CubeTensor,
    amax: CubeTensor,
    axis: usize,
    scheme: Fp4Scheme,
) -> CubeTensor {
    let device = tensor.device.clone();
    let (tensor, parameter) = (down(tensor), down(parameter));
    let out = Flex::fp4_learned_quantize(tensor, parameter, down(amax), axis, scheme);
    up(out, &device)
}

pub(super) fn learned_gradients(
    grad: CubeTensor,
    tensor: CubeTensor,
    parameter: CubeTensor,
    amax: CubeTensor,
    axis: usize,
    scheme: Fp4Scheme,
) -> LearnedGradients<CubeBackend> {
    let device = tensor.device.clone();
    let (grad, tensor) = (down(grad), down(tensor));
    let (parameter, amax) = (down(parameter), down(amax));
    let out = Flex::fp4_learned_gradients(grad, tensor, parameter, amax, axis, scheme);
    LearnedGradients {
        tensor: up(out.tensor, &device),
        parameter: up(out.parameter, &device),
    }
}
