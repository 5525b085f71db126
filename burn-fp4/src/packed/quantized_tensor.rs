//! Packed tensors as Burn's own quantized tensors, and back.

use burn::tensor::quantization::QuantScheme;
use burn::tensor::{DType, Tensor, TensorData};

use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::packed::fp4_tensor::Fp4Tensor;
use crate::scheme::Fp4Scheme;

impl<const D: usize> Fp4Tensor<D> {
    /// The same bytes as a quantized tensor of Burn, which Burn's own operations take: codes, scale
    /// bytes, and the global scale of NVFP4. It is copied by way of the host.
    ///
    /// Few devices can hold E2M1 with scales of E8M0 or E4M3; Flex, which keeps E2M1 as integers,
    /// cannot.
    ///
    /// # Errors
    ///
    /// If the device does not support the type, every expert has its own global scale, or the device
    /// fails.
    pub fn to_quantized(&self) -> Result<Tensor<D>, Fp4Error> {
        let device = self.codes().device();
        let dtype = DType::QFloat(QuantScheme::from(self.scheme()));
        if !device.supports_dtype(dtype) {
            return Err(unfit(
                "device",
                "one that holds E2M1 with the scales of the scheme",
                format!("{device:?}"),
            ));
        }
        let packed = self.to_packed()?;
        let n_scales = packed.global_scales().len();
        if n_scales > 1 {
            let found = format!("{n_scales}, one per expert");
            return Err(unfit("global scales", "one per tensor", found));
        }
        let global_scales = packed.global_scales().to_vec();
        let shape = packed.shape().to_vec();
        let (mut bytes, scales) = packed.into_parts();
        bytes.extend(scales);
        bytes.extend(global_scales.iter().flat_map(|scale| scale.to_le_bytes()));
        let data = TensorData::from_bytes_vec(bytes, shape, dtype);
        Ok(Tensor::from_data(data, (&device, dtype)))
    }

    /// The bytes of a quantized tensor of Burn in MXFP4 or NVFP4, on the device it is on, copied by way
    /// of the host. What Burn's scheme leaves open is filled in as `Fp4Scheme::try_from` says.
    ///
    /// # Errors
    ///
    /// If the tensor is not quantized in one of the two formats, or the device fails.
    pub fn from_quantized(tensor: Tensor<D>) -> Result<Self, Fp4Error> {
        let device = tensor.device();
        let DType::QFloat(scheme) = tensor.dtype() else {
            let found = format!("{:?}", tensor.dtype());
            return Err(unfit("dtype", "a quantized tensor", found));
        };
        let scheme = Fp4Scheme::try_from(scheme)?;
        let data = tensor.try_into_data().map_err(|error| Fp4Error::Device {
            message: error.to_string(),
        })?;
        let shape = data.shape().to_vec();
        let n_elements: usize = shape.iter().product();
        let bytes = data.as_bytes();
        let (n_codes, n_scales) = (n_elements / 2, n_elements / scheme.block_size());
        let n_global = scheme.n_global_scales(&shape);
        let expected = n_codes + n_scales + 4 * n_global;
        if bytes.len() != expected {
            return Err(Fp4Error::Length {
                what: "quantized tensor",
                shape,
                expected,
                found: bytes.len(),
            });
        }
        let (codes, rest) = bytes.split_at(n_codes);
        let (scales, global) = rest.split_at(n_scales);
        let (global, _) = global.as_chunks::<4>();
        let global = global
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes))
            .collect();
        let (codes, scales) = (codes.to_vec(), scales.to_vec());
        let packed = PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global)?;
        Self::from_packed(packed, &device)
    }
}

fn unfit(what: &'static str, expected: &'static str, found: String) -> Fp4Error {
    Fp4Error::QuantScheme {
        what,
        expected,
        found,
    }
}
