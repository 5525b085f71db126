//! Launch of FP8 fake quantization.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::buffer::{contiguous, empty_like, words};
use super::lines::Lines;
use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::fp8::fp8_fake_quantize;

pub(super) fn fake_quantize(tensor: CubeTensor, amax: CubeTensor) -> CubeTensor {
    assert_eq!(amax.dtype, DType::F32, "fp8_fake_quantize: dtype of amax");
    assert_eq!(
        amax.shape().to_vec(),
        [1],
        "fp8_fake_quantize: shape of amax"
    );
    if tensor.meta.num_elements() == 0 {
        return tensor;
    }
    let input = Lines::new(tensor, 1);
    let output = empty_like(&input.tensor, input.span);
    let client = &input.tensor.client;
    let dim = CubeDim::new(client, input.n_vectors);
    // SAFETY: positions are those of vectors in rows; units beyond the last one end at once.
    unsafe {
        fp8_fake_quantize::launch_unchecked(
            client,
            calculate_cube_count_elemwise(client, input.n_vectors, dim),
            dim,
            input.address_type(),
            input.vector,
            words(input.tensor.handle.clone()),
            words(contiguous(amax).handle),
            words(output.handle.clone()),
            input.n_vectors,
            input.width,
            input.pitch,
            Arithmetic::of(client),
            input.floats,
        );
    }
    output
}
