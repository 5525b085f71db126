//! For CubeCL: places are sorted by their ids without atomic operations, so that sums have one order.
// The language of kernels has neither iterators nor all methods of integers.
#![allow(clippy::needless_range_loop, clippy::manual_is_multiple_of)]
#![allow(unsafe_code)]

pub(in crate::ops) mod kernels;

use burn::backend::TensorMetadata;
use burn::backend::ops::IntTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, IntDType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::EmbeddingBackend;
use burn_fp4::backend::cube::{buffer, contiguous, empty, float_type, vector_size, zeros};

impl EmbeddingBackend for CubeBackend {
    fn embedding_rows(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let (weight, ids) = (contiguous(weight), words(ids));
        let ([vocab_size, width], n) = (weight.shape().dims(), ids.meta.num_elements());
        let output = empty(&weight, Shape::new([n, width]), weight.dtype);
        if n * width == 0 {
            return output;
        }
        let vector = vector_size(&weight, width, &[]);
        let n_units = n * width / vector;
        let dim = CubeDim::new(&weight.client, n_units);
        // SAFETY: units beyond the last vector end at once; ids are limited to the vocabulary.
        unsafe {
            kernels::gather::launch_unchecked(
                &weight.client,
                calculate_cube_count_elemwise(&weight.client, n_units, dim),
                dim,
                AddressType::from_len((vocab_size * width).max(n * width)),
                vector,
                buffer(&weight),
                buffer(&ids),
                buffer(&output),
                width / vector,
                vocab_size as u32,
                n_units,
                float_type(&weight),
            );
        }
        output
    }

    fn embedding_rows_gradient(
        grad: FloatTensor<Self>,
        ids: IntTensor<Self>,
        vocab_size: usize,
    ) -> FloatTensor<Self> {
        let (grad, ids) = (contiguous(grad), words(ids));
        let [n, width] = grad.shape().dims();
        if n * width == 0 {
            return zeros(&grad, Shape::new([vocab_size, width]), grad.dtype);
        }
        let output = empty(&grad, Shape::new([vocab_size, width]), grad.dtype);
        let places = Places::new(&ids, vocab_size);
        let vector = vector_size(&grad, width, &[]);
        let n_units = vocab_size * width / vector;
        let dim = CubeDim::new(&grad.client, n_units);
        // SAFETY: units beyond the last vector end at once; places are rows of the gradient.
        unsafe {
            kernels::sum_rows::launch_unchecked(
                &grad.client,
                calculate_cube_count_elemwise(&grad.client, n_units, dim),
                dim,
                AddressType::from_len((vocab_size * width).max(n * width)),
                vector,
                buffer(&grad),
                buffer(&places.places),
                buffer(&places.starts),
                buffer(&places.counts),
                buffer(&output),
                width / vector,
                n_units,
                float_type(&grad),
            );
        }
        output
    }
}

/// 32-bit integers without gaps.
fn words(ids: CubeTensor) -> CubeTensor {
    contiguous(CubeBackend::int_cast(ids, IntDType::I32))
}

/// Where each id is.
struct Places {
    /// Sorted by id, those of an id in ascending order.
    places: CubeTensor,
    /// Of each id that has a place, the first of its places among all.
    starts: CubeTensor,
    counts: CubeTensor,
}

impl Places {
    fn new(ids: &CubeTensor, vocab_size: usize) -> Self {
        let n = ids.meta.num_elements();
        let places = Self {
            places: empty(ids, Shape::new([n]), DType::U32),
            starts: empty(ids, Shape::new([vocab_size]), DType::U32),
            counts: zeros(ids, Shape::new([vocab_size]), DType::U32),
        };
        let dim = CubeDim::new(&ids.client, n);
        // SAFETY: units beyond the last id end at once; ids are limited to the vocabulary.
        unsafe {
            kernels::sort_places::launch_unchecked(
                &ids.client,
                calculate_cube_count_elemwise(&ids.client, n, dim),
                dim,
                vector_size(ids, n, &[]),
                buffer(ids),
                buffer(ids),
                buffer(&places.places),
                buffer(&places.starts),
                buffer(&places.counts),
                n,
                vocab_size as u32,
            );
        }
        places
    }
}
