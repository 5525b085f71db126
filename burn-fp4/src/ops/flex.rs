//! Flex, Burn's pure Rust CPU backend: the slice functions on its buffers.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Element, FloatDType, TensorData};
use burn_flex::FlexTensor;
use half::{bf16, f16};

use super::Fp4Backend;
use crate::{Fp4Element, Fp4Scheme, GlobalAmax, NonFinite, SliceQuantizer};

impl Fp4Backend for Flex {
    fn fp4_fake_quantize(
        tensor: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        fake_quantize(tensor, axis, &training(scheme))
    }

    fn fp4_fake_quantize_with_amax(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        let amax = Flex::float_cast(amax, FloatDType::F32).to_contiguous();
        let amax = GlobalAmax::Frozen(amax.storage::<f32>().to_vec());
        fake_quantize(tensor, axis, &training(scheme).with_global_amax(amax))
    }
}

const fn training(scheme: Fp4Scheme) -> SliceQuantizer {
    SliceQuantizer::new(scheme).with_non_finite(NonFinite::Saturate)
}

fn fake_quantize(tensor: FlexTensor, axis: usize, quantizer: &SliceQuantizer) -> FlexTensor {
    match tensor.dtype() {
        DType::F32 => typed::<f32>(tensor, axis, quantizer),
        DType::BF16 => typed::<bf16>(tensor, axis, quantizer),
        DType::F16 => typed::<f16>(tensor, axis, quantizer),
        other => panic!("fake_quantize: dtype {other:?} is not one of F32, BF16, F16"),
    }
}

fn typed<T>(tensor: FlexTensor, axis: usize, quantizer: &SliceQuantizer) -> FlexTensor
where
    T: Fp4Element + Element + bytemuck::Pod,
{
    let shape = tensor.shape();
    let out = match tensor.as_slice::<T>() {
        Some(values) => quantizer.fake_quantize(values, &shape, axis),
        None => {
            let tensor = tensor.to_contiguous();
            quantizer.fake_quantize(tensor.storage::<T>(), &shape, axis)
        }
    };
    match out {
        Ok(out) => FlexTensor::from_data(TensorData::new(out, shape)),
        Err(error) => panic!("fake_quantize: {error}"),
    }
}
