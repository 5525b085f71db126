//! Numbers of tensors on the host.

use burn::tensor::{DType, Element, Tensor, TensorData};
use half::{bf16, f16};

use crate::codec::element::Fp4Element;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;
use crate::packed::PackedFp4;

/// Numbers of a tensor that was read with `try_into_data`.
pub(crate) fn read<T: Element>(
    data: Result<TensorData, impl ToString>,
) -> Result<Vec<T>, Fp4Error> {
    let failed = |message| Fp4Error::Device { message };
    let data = data.map_err(|error| failed(error.to_string()))?;
    data.try_into_vec()
        .map_err(|error| failed(error.to_string()))
}

/// Fails unless FP4 values can be made from numbers of this type.
pub(crate) fn check_dtype(dtype: DType) -> Result<(), Fp4Error> {
    match dtype {
        DType::F32 | DType::BF16 | DType::F16 => Ok(()),
        other => Err(unfit(other)),
    }
}

/// Quantizes a tensor and moves its block axis last.
pub(crate) fn pack<const D: usize>(
    tensor: Tensor<D>,
    axis: usize,
    quantizer: &SliceQuantizer,
) -> Result<PackedFp4, Fp4Error> {
    let shape = tensor.dims();
    let data = tensor.try_into_data().map_err(|error| Fp4Error::Device {
        message: error.to_string(),
    })?;
    match data.dtype() {
        DType::F32 => quantizer.quantize::<f32>(slice(&data)?, &shape, axis),
        DType::BF16 => quantizer.quantize::<bf16>(slice(&data)?, &shape, axis),
        DType::F16 => quantizer.quantize::<f16>(slice(&data)?, &shape, axis),
        other => Err(unfit(other)),
    }
}

/// The inverse of [`pack`], rounded to `dtype`.
pub(crate) fn unpack(
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
