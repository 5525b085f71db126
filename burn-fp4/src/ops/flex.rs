//! Flex, Burn's pure Rust CPU backend: the slice functions on its buffers.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Element, TensorData};
use burn_flex::FlexTensor;
use half::{bf16, f16};

use super::Fp4Backend;
use crate::{Fp4Element, Fp4Scheme, fake_quantize_slice};

impl Fp4Backend for Flex {
    fn fp4_fake_quantize(
        tensor: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        match tensor.dtype() {
            DType::F32 => typed::<f32>(tensor, axis, &scheme),
            DType::BF16 => typed::<bf16>(tensor, axis, &scheme),
            DType::F16 => typed::<f16>(tensor, axis, &scheme),
            other => panic!("fake_quantize: dtype {other:?} is not one of F32, BF16, F16"),
        }
    }
}

fn typed<T>(tensor: FlexTensor, axis: usize, scheme: &Fp4Scheme) -> FlexTensor
where
    T: Fp4Element + Element + bytemuck::Pod,
{
    let shape = tensor.shape();
    let out = match tensor.as_slice::<T>() {
        Some(values) => fake_quantize_slice(values, &shape, axis, scheme),
        None => {
            let tensor = tensor.to_contiguous();
            fake_quantize_slice(tensor.storage::<T>(), &shape, axis, scheme)
        }
    };
    match out {
        Ok(out) => FlexTensor::from_data(TensorData::new(out, shape)),
        Err(error) => panic!("fake_quantize: {error}"),
    }
}
