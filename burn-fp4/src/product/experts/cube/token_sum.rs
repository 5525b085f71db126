//! The sum over the rows of every token.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use crate::product::cube::gemm::product::RouteTensors;
use crate::product::cube::{contiguous, empty, row_vector_size, zeros};

/// `[rows, width] -> [tokens, width]`: the rows of every token, times their scores if there are any, added
/// up by ascending expert.
pub(super) fn token_sum(
    rows: CubeTensor,
    scores: Option<CubeTensor>,
    routes: &RouteTensors,
) -> CubeTensor {
    let (n_tokens, width) = (routes.n_rows / routes.top_k, rows.shape()[1]);
    if n_tokens * width == 0 {
        return zeros(&rows, [n_tokens, width], rows.dtype);
    }
    let rows = contiguous(rows);
    let output = empty(&rows, [n_tokens, width], rows.dtype);
    let client = rows.client.clone();
    let places = empty(&routes.order, [routes.n_rows], DType::I32);
    let dim = CubeDim::new(&client, routes.n_rows);
    let vector = row_vector_size(&rows, &[width]);
    let n_vectors = n_tokens * width / vector;
    let sum_dim = CubeDim::new(&client, n_vectors);
    // SAFETY: units beyond the last choice or vector end at once; the order of a routing is a permutation
    // of the choices.
    unsafe {
        invert::launch_unchecked(
            &client,
            calculate_cube_count_elemwise(&client, routes.n_rows, dim),
            dim,
            routes.order.clone().into_buffer_arg(),
            places.clone().into_buffer_arg(),
            routes.n_rows,
        );
        sum_rows::launch_unchecked(
            &client,
            calculate_cube_count_elemwise(&client, n_vectors, sum_dim),
            sum_dim,
            rows.required_address_type(),
            vector,
            rows.clone().into_buffer_arg(),
            places.into_buffer_arg(),
            routes.order.clone().into_buffer_arg(),
            scores
                .map(|scores| contiguous(scores).into_buffer_arg())
                .into(),
            output.clone().into_buffer_arg(),
            n_vectors,
            width / vector,
            routes.top_k,
            dtype_to_elem_type(rows.dtype),
        );
    }
    output
}

/// Row of every choice.
#[cube(launch_unchecked)]
fn invert(order: &[u32], places: &mut [u32], n: usize) {
    if ABSOLUTE_POS >= n {
        terminate!();
    }
    places[order[ABSOLUTE_POS] as usize] = ABSOLUTE_POS as u32;
}

#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
fn sum_rows<F: Float, N: Size>(
    rows: &[Vector<F, N>],
    places: &[u32],
    order: &[u32],
    scores: ComptimeOption<&[F]>,
    output: &mut [Vector<F, N>],
    n_vectors: usize,
    width: usize,
    #[comptime] top_k: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n_vectors {
        terminate!();
    }
    let (token, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
    let mut row = Array::<u32>::new(top_k);
    #[unroll]
    for i in 0..top_k {
        row[i] = places[token * top_k + i];
    }
    // Rows ascend with their experts.
    #[unroll]
    for end in 1..top_k {
        #[unroll]
        for i in 0..comptime!(top_k - end) {
            let (a, b) = (row[i], row[i + 1]);
            row[i] = min(a, b);
            row[i + 1] = max(a, b);
        }
    }
    let mut sum = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for i in 0..top_k {
        let place = row[i] as usize;
        let value = Vector::<f32, N>::cast_from(rows[place * width + column]);
        #[comptime]
        match scores {
            ComptimeOption::Some(scores) => {
                let score = f32::cast_from(scores[order[place] as usize]);
                sum += value * Vector::new(score);
            }
            ComptimeOption::None => {
                sum += value;
            }
        }
    }
    output[ABSOLUTE_POS] = Vector::<F, N>::cast_from(sum);
}
