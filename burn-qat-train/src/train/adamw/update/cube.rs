//! For CubeCL: a unit has a vector of each tensor, which it overwrites.
#![allow(unsafe_code)]

mod kernel;

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::{AdamWBackend, AdamWUpdated};
use crate::train::adamw::AdamWFactors;
use kernel::{FactorsLaunch, update};

/// Bytes that a unit loads of a tensor at once.
const VECTOR_BYTES: usize = 16;

impl AdamWBackend for CubeBackend {
    fn adamw_update(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        factors: AdamWFactors,
    ) -> AdamWUpdated<Self> {
        for tensor in [&grad, &moment_1, &moment_2] {
            assert_eq!(tensor.dtype, weight.dtype, "dtypes of a step");
            assert_eq!(tensor.shape(), weight.shape(), "shapes of a step");
        }
        let grad = into_contiguous(grad);
        let [weight, moment_1, moment_2] = [weight, moment_1, moment_2].map(own);
        let n_elements = grad.meta.num_elements();
        if n_elements > 0 {
            launch([&weight, &moment_1, &moment_2, &grad], n_elements, factors);
        }
        AdamWUpdated {
            weight,
            moment_1,
            moment_2,
        }
    }
}

fn launch(tensors: [&CubeTensor; 4], n_elements: usize, factors: AdamWFactors) {
    let client = &tensors[0].client;
    let vector = vector_size(tensors, n_elements);
    let n_vectors = n_elements / vector;
    let dim = CubeDim::new(client, n_vectors);
    let [weight, moment_1, moment_2, grad] = tensors.map(|x| x.clone().into_buffer_arg());
    // SAFETY: units beyond the last vector end at once.
    unsafe {
        update::launch_unchecked(
            client,
            calculate_cube_count_elemwise(client, n_vectors, dim),
            dim,
            AddressType::from_len(n_elements),
            vector,
            weight,
            moment_1,
            moment_2,
            grad,
            FactorsLaunch::new(
                factors.beta_1,
                factors.beta_2,
                factors.bias_1,
                factors.bias_2,
                factors.epsilon,
                factors.learning_rate,
                factors.decay.unwrap_or(1.0),
            ),
            n_vectors,
            dtype_to_elem_type(tensors[0].dtype),
        );
    }
}

/// A tensor without gaps that nobody else sees.
fn own(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    match tensor.can_mut() {
        true => tensor,
        false => into_contiguous(tensor.copy()),
    }
}

/// Elements of the widest vectors that all tensors divide into.
fn vector_size(tensors: [&CubeTensor; 4], n_elements: usize) -> usize {
    let size = tensors[0].dtype.size();
    let widest = match tensors[0].client.name().starts_with("wgpu") {
        // Shading languages have no wider ones.
        true => 4,
        false => VECTOR_BYTES / size,
    };
    let fits = |&vector: &usize| {
        let starts_at_vectors = |tensor: &CubeTensor| {
            let offset = tensor.handle.offset_start.unwrap_or(0) as usize;
            offset.is_multiple_of(vector * size)
        };
        let whole = vector <= widest && n_elements.is_multiple_of(vector);
        whole && tensors.into_iter().all(starts_at_vectors)
    };
    [8, 4, 2].into_iter().find(fits).unwrap_or(1)
}
