//! Gradients of scores, and of the rows they are factors of.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::super::CombineGradients;
use crate::product::cube::gemm::product::RouteTensors;
use crate::product::cube::{Hardware, contiguous, empty, row_vector_size};

/// Cubes along an axis of the grid that every runtime has.
const MAX_CUBES: usize = 65_535;
/// Units that share a row.
const UNITS: usize = 128;

/// With `products`, the rows of `grad x matrices^T`: the gradient of a row is `score * product`, that of its
/// score `row . product + bias . grad`.
pub(super) fn gradients(
    products: CubeTensor,
    rows: CubeTensor,
    grad: CubeTensor,
    bias: CubeTensor,
    scores: CubeTensor,
    routes: &RouteTensors,
) -> CombineGradients<CubeBackend> {
    let gradient = empty(&scores, scores.shape(), scores.dtype);
    if routes.n_rows == 0 {
        return CombineGradients {
            rows: products,
            scores: gradient,
        };
    }
    let widths = [rows.shape()[1], grad.shape()[1]];
    let (rows, grad, bias) = (contiguous(rows), contiguous(grad), contiguous(bias));
    let client = rows.client.clone();
    let vector = row_vector_size(&rows, &widths);
    let hardware = Hardware::of(&client);
    let units = match hardware.shared_memory {
        true => UNITS.min(hardware.max_units),
        false => 1,
    };
    let depth = routes.n_rows.div_ceil(MAX_CUBES);
    // SAFETY: cubes beyond the last row end at once; the order of a routing are choices.
    unsafe {
        score_gradients::launch_unchecked(
            &client,
            CubeCount::Static(routes.n_rows.div_ceil(depth) as u32, depth as u32, 1),
            CubeDim::new_1d(units as u32),
            rows.required_address_type()
                .max(grad.required_address_type()),
            vector,
            products.clone().into_buffer_arg(),
            rows.clone().into_buffer_arg(),
            grad.into_buffer_arg(),
            bias.into_buffer_arg(),
            contiguous(scores).into_buffer_arg(),
            routes.order.clone().into_buffer_arg(),
            routes.offsets.clone().into_buffer_arg(),
            gradient.clone().into_buffer_arg(),
            routes.n_rows,
            widths[0] / vector,
            widths[1] / vector,
            routes.n_experts,
            routes.top_k,
            units,
            dtype_to_elem_type(rows.dtype),
        );
    }
    CombineGradients {
        rows: products,
        scores: gradient,
    }
}

/// A cube has a row; `products` become the gradients of the rows.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
fn score_gradients<F: Float, N: Size>(
    products: &mut [Vector<F, N>],
    rows: &[Vector<F, N>],
    grad: &[Vector<F, N>],
    bias: &[Vector<F, N>],
    scores: &[F],
    order: &[u32],
    offsets: &[u32],
    gradient: &mut [F],
    n_rows: usize,
    width: usize,
    grad_width: usize,
    n_experts: usize,
    #[comptime] top_k: usize,
    #[comptime] units: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    if row >= n_rows {
        terminate!();
    }
    let choice = order[row];
    let token = (choice / comptime!(top_k as u32)) as usize;
    let mut expert = 0usize;
    for e in 1..n_experts {
        if row >= offsets[e] as usize {
            expert = e;
        }
    }
    let score = Vector::<f32, N>::new(f32::cast_from(scores[choice as usize]));
    let mut sums = Vector::<f32, N>::new(0.0f32);
    for i in range_stepped(UNIT_POS as usize, width, units) {
        let product = Vector::<f32, N>::cast_from(products[row * width + i]);
        sums += product * Vector::<f32, N>::cast_from(rows[row * width + i]);
        products[row * width + i] = Vector::<F, N>::cast_from(product * score);
    }
    for i in range_stepped(UNIT_POS as usize, grad_width, units) {
        let value = Vector::<f32, N>::cast_from(grad[token * grad_width + i]);
        sums += value * Vector::<f32, N>::cast_from(bias[expert * grad_width + i]);
    }
    let mut sum = 0.0f32;
    #[unroll]
    for i in 0..N::value() {
        sum += sums.extract(i);
    }
    if comptime!(units > 1) {
        sum = cube_sum(sum, units);
    }
    if UNIT_POS == 0u32 {
        gradient[choice as usize] = F::cast_from(sum);
    }
}

/// The sum over a power of two of units.
#[cube]
fn cube_sum(value: f32, #[comptime] units: usize) -> f32 {
    let mut sums = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    sums[unit] = value;
    sync_cube();
    #[unroll]
    for step in 1..comptime!(units.ilog2() as usize + 1) {
        let distance = comptime!(units >> step);
        if unit < distance {
            sums[unit] += sums[unit + distance];
        }
        sync_cube();
    }
    sums[0]
}
