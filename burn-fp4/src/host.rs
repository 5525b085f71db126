//! Numbers of a weight on the host, whatever their type.

use burn::tensor::{DType, Element, Tensor, TensorData};
use half::{bf16, f16};

use crate::amax::amax_of_parts;
use crate::{Fp4Element, Fp4Error, PackedFp4, SliceQuantizer};

/// Largest magnitude of each of `n_parts` equal parts of a tensor.
pub(super) fn amax<const D: usize>(
    tensor: Tensor<D>,
    n_parts: usize,
) -> Result<Vec<f32>, Fp4Error> {
    let data = read(tensor)?;
    match data.dtype() {
        DType::F32 => Ok(amax_of_parts::<f32>(slice(&data)?, n_parts)),
        DType::BF16 => Ok(amax_of_parts::<bf16>(slice(&data)?, n_parts)),
        DType::F16 => Ok(amax_of_parts::<f16>(slice(&data)?, n_parts)),
        other => Err(unfit(other)),
    }
}

/// Quantizes a tensor and moves its block axis last.
pub(super) fn pack<const D: usize>(
    tensor: Tensor<D>,
    axis: usize,
    quantizer: &SliceQuantizer,
) -> Result<PackedFp4, Fp4Error> {
    let shape = tensor.dims();
    let data = read(tensor)?;
    match data.dtype() {
        DType::F32 => quantizer.quantize::<f32>(slice(&data)?, &shape, axis),
        DType::BF16 => quantizer.quantize::<bf16>(slice(&data)?, &shape, axis),
        DType::F16 => quantizer.quantize::<f16>(slice(&data)?, &shape, axis),
        other => Err(unfit(other)),
    }
}

/// The inverse of [`pack`], rounded to `dtype`.
pub(super) fn unpack(
    packed: &PackedFp4,
    axis: usize,
    dtype: DType,
) -> Result<TensorData, Fp4Error> {
    match dtype {
        DType::F32 => decode::<f32>(packed, axis),
        DType::BF16 => decode::<bf16>(packed, axis),
        DType::F16 => decode::<f16>(packed, axis),
        other => Err(unfit(other)),
    }
}

fn decode<T: Fp4Element + Element>(
    packed: &PackedFp4,
    axis: usize,
) -> Result<TensorData, Fp4Error> {
    let mut shape = packed.shape().to_vec();
    let len = shape.pop().unwrap_or_default();
    shape.insert(axis.min(shape.len()), len);
    let mut values = T::zeros(packed.n_elements());
    packed.dequantize_along(axis, &mut values)?;
    Ok(TensorData::new(values, shape))
}

fn read<const D: usize>(tensor: Tensor<D>) -> Result<TensorData, Fp4Error> {
    tensor.try_into_data().map_err(|error| Fp4Error::Device {
        message: error.to_string(),
    })
}

fn slice<T: Element>(data: &TensorData) -> Result<&[T], Fp4Error> {
    data.as_slice().map_err(|error| Fp4Error::Device {
        message: format!("{error:?}"),
    })
}

fn unfit(dtype: DType) -> Fp4Error {
    Fp4Error::ElementType {
        found: format!("{dtype:?}"),
    }
}
