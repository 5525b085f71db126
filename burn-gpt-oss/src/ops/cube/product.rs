//! Products of matrices.
#![allow(unsafe_code)]

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul as burn_matmul};
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::{buffer, contiguous, empty, float_type, vector_size};

/// `lhs [m, k]` times `rhs [k, n]`, accumulated in float32.
///
/// On CUDA, float32 inputs are rounded to TF32 where there are tensor cores.
pub(in crate::ops) fn product(lhs: CubeTensor, rhs: CubeTensor, out_dtype: DType) -> CubeTensor {
    match lhs.client.name() {
        "cuda" => match burn_matmul(lhs, rhs, None, MatmulStrategy::default(), out_dtype) {
            Ok(product) => product,
            Err(error) => panic!("product: {error:?}"),
        },
        // Elsewhere Burn's products compile for minutes.
        _ => matmul(lhs, rhs, out_dtype),
    }
}

fn matmul(lhs: CubeTensor, rhs: CubeTensor, out_dtype: DType) -> CubeTensor {
    let (lhs, rhs) = (contiguous(lhs), contiguous(rhs));
    let ([m, k], [_, n]) = (lhs.shape().dims(), rhs.shape().dims());
    let output = empty(&lhs, Shape::new([m, n]), out_dtype);
    let vector = vector_size(&rhs, n, &[&output]);
    let n_units = m * n / vector;
    let dim = CubeDim::new(&lhs.client, n_units);
    // SAFETY: units beyond the last vector end at once.
    unsafe {
        naive::launch_unchecked(
            &lhs.client,
            calculate_cube_count_elemwise(&lhs.client, n_units, dim),
            dim,
            AddressType::from_len((m * n).max(k * n).max(m * k)),
            vector,
            buffer(&lhs),
            buffer(&rhs),
            buffer(&output),
            k,
            n / vector,
            n_units,
            [float_type(&lhs), float_type(&output)],
        );
    }
    output
}

#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
fn naive<F: Float, G: Float, N: Size>(
    lhs: &[F],
    rhs: &[Vector<F, N>],
    output: &mut [Vector<G, N>],
    k: usize,
    n_vectors: usize,
    n_units: usize,
    #[define(F, G)] _dtypes: [ElemType; 2],
) {
    if ABSOLUTE_POS >= n_units {
        terminate!();
    }
    let first = ABSOLUTE_POS / n_vectors * k;
    let column = ABSOLUTE_POS % n_vectors;
    let mut sum = Vector::<f32, N>::new(0.0f32);
    for i in 0..k {
        let b = Vector::<f32, N>::cast_from(rhs[i * n_vectors + column]);
        sum += Vector::new(f32::cast_from(lhs[first + i])) * b;
    }
    output[ABSOLUTE_POS] = Vector::cast_from(sum);
}
