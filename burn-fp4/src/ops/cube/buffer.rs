//! Tensors as arguments of kernels.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::server::Handle;

use super::walk::Layout;
use crate::Fp4Scheme;
use crate::kernels::arithmetic::Arithmetic;
use crate::kernels::float_words::FloatWords;
use crate::kernels::format::KernelFormat;

/// The format of kernels that quantize a tensor; none if its scale rule has no kernel.
pub(super) fn format(tensor: &CubeTensor, scheme: &Fp4Scheme) -> Option<KernelFormat> {
    KernelFormat::quantizing(scheme, Arithmetic::of(&tensor.client))
}

/// The type of the floats of a tensor.
pub(super) fn float_words(dtype: DType) -> FloatWords {
    match FloatWords::of(dtype) {
        Some(floats) => floats,
        None => panic!("FP4: dtype {dtype:?} is not one of F32, BF16, F16"),
    }
}

/// A buffer of 32-bit words.
pub(super) fn words(handle: Handle) -> BufferArg {
    let n_words = handle.size_in_used().div_ceil(4) as usize;
    // SAFETY: the length is that of the memory; allocations are whole words.
    unsafe { BufferArg::from_raw_parts(handle, n_words) }
}

/// Wide enough for every index into buffers of so many elements.
pub(super) fn address_type(n_elements: usize) -> AddressType {
    AddressType::from_len(n_elements)
}
