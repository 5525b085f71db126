//! Arguments of launches.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::server::CubeCountSelection;

/// Bytes that a unit loads at once.
const VECTOR_BYTES: usize = 16;

/// The memory of a tensor, from its first element on.
pub fn buffer(tensor: &CubeTensor) -> BufferArg {
    tensor.clone().into_buffer_arg()
}

/// The type of the elements for a kernel that is generic over floats.
///
/// # Panics
/// If it is not one of `f32`, `bf16` and `f16`.
pub fn float_type(tensor: &CubeTensor) -> ElemType {
    match tensor.dtype {
        DType::F32 | DType::BF16 | DType::F16 => dtype_to_elem_type(tensor.dtype),
        other => panic!("dtype {other:?} is not one of F32, BF16, F16"),
    }
}

/// Elements of the widest vectors that `len` elements of `tensor` divide into; vectors of the same
/// number of elements must be readable from the tensors `beside`.
pub fn vector_size(tensor: &CubeTensor, len: usize, beside: &[&CubeTensor]) -> usize {
    let widest = match tensor.client.name().starts_with("wgpu") {
        // Shading languages have no wider ones.
        true => 4,
        false => VECTOR_BYTES / tensor.dtype.size(),
    };
    let starts_at_vectors = |tensor: &CubeTensor, size: usize| {
        let offset = tensor.handle.offset_start.unwrap_or(0) as usize;
        offset.is_multiple_of(size * tensor.dtype.size())
    };
    let fits = |&size: &usize| {
        size <= widest
            && len.is_multiple_of(size)
            && starts_at_vectors(tensor, size)
            && beside.iter().all(|tensor| starts_at_vectors(tensor, size))
    };
    [8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

/// So many cubes, along as many axes as it takes; there may be some more.
pub fn cubes(client: &Client, n: usize) -> CubeCount {
    CubeCountSelection::new(client, n as u32).cube_count()
}
