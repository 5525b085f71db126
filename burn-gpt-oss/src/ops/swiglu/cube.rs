//! For CubeCL: a unit has as many pairs as fill a vector.
#![allow(unsafe_code)]

pub(in crate::ops) mod kernels;

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::SwigluBackend;
use burn_fp4::backend::cube::{buffer, contiguous, empty, float_type, vector_size};

impl SwigluBackend for CubeBackend {
    fn clamped_swiglu(x: FloatTensor<Self>, limit: f32, alpha: f32) -> FloatTensor<Self> {
        let x = contiguous(x);
        let [n_rows, columns] = x.shape().dims();
        let output = empty(&x, Shape::new([n_rows, columns / 2]), x.dtype);
        let Some(launch) = Launch::new(&x, &output) else {
            return output;
        };
        // SAFETY: units beyond the last vector end at once.
        unsafe {
            kernels::forward::launch_unchecked(
                &x.client,
                launch.count,
                launch.dim,
                launch.address_type,
                2 * launch.pairs,
                launch.pairs,
                buffer(&x),
                buffer(&output),
                limit,
                alpha,
                launch.n_vectors,
                float_type(&x),
            );
        }
        output
    }

    fn clamped_swiglu_backward(
        grad: FloatTensor<Self>,
        x: FloatTensor<Self>,
        limit: f32,
        alpha: f32,
    ) -> FloatTensor<Self> {
        assert_eq!(grad.dtype, x.dtype, "dtypes of an input and its gradient");
        let (grad, x) = (contiguous(grad), contiguous(x));
        let output = empty(&x, x.shape(), x.dtype);
        let Some(launch) = Launch::new(&x, &grad) else {
            return output;
        };
        // SAFETY: units beyond the last vector end at once.
        unsafe {
            kernels::backward::launch_unchecked(
                &x.client,
                launch.count,
                launch.dim,
                launch.address_type,
                2 * launch.pairs,
                launch.pairs,
                buffer(&grad),
                buffer(&x),
                buffer(&output),
                limit,
                alpha,
                launch.n_vectors,
                float_type(&x),
            );
        }
        output
    }
}

/// A unit for every vector of pairs.
struct Launch {
    pairs: usize,
    n_vectors: usize,
    dim: CubeDim,
    count: CubeCount,
    address_type: AddressType,
}

impl Launch {
    /// None if there is nothing to do.
    fn new(x: &CubeTensor, of_pairs: &CubeTensor) -> Option<Self> {
        let n_elements = x.meta.num_elements();
        if n_elements == 0 {
            return None;
        }
        let pairs = (vector_size(x, n_elements, &[of_pairs]) / 2).max(1);
        let n_vectors = n_elements / 2 / pairs;
        let dim = CubeDim::new(&x.client, n_vectors);
        Some(Self {
            pairs,
            n_vectors,
            dim,
            count: calculate_cube_count_elemwise(&x.client, n_vectors, dim),
            address_type: AddressType::from_len(n_elements),
        })
    }
}
