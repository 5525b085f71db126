//! Gradients of biases: the sum of the rows of every expert.
//!
//! Rows are divided into tiles of fixed height, those of an expert by themselves, and the sums of tiles are
//! added up in their order.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::token_sum::vector_size;
use crate::ops::cube::gemm::RouteTensors;
use crate::ops::cube::{contiguous, empty, zeros};

/// Rows of a tile.
const HEIGHT: usize = 128;
/// Units of a cube.
const UNITS: usize = 64;

/// `[experts, width]`; with scores `grad` has a row per token, which they are the factors of.
pub(super) fn gradient(
    grad: CubeTensor,
    scores: Option<CubeTensor>,
    routes: &RouteTensors,
) -> CubeTensor {
    let (n_experts, width) = (routes.n_experts, grad.shape()[1]);
    if routes.n_rows == 0 || width == 0 {
        return zeros(&grad, [n_experts, width], grad.dtype);
    }
    let grad = contiguous(grad);
    let output = empty(&grad, [n_experts, width], grad.dtype);
    let n_tiles = routes.n_rows.div_ceil(HEIGHT) + n_experts;
    let parts = empty(&grad, [n_tiles, width], DType::F32);
    let client = grad.client.clone();
    let vector = vector_size(&grad, &[width]);
    let width = width / vector;
    let dim = CubeDim::new(&client, n_experts * width);
    let gathered = scores.is_some();
    // SAFETY: units beyond the last vector and cubes beyond the last tile end at once; the order of a
    // routing are choices.
    unsafe {
        add_tiles::launch_unchecked(
            &client,
            CubeCount::Static(width.div_ceil(UNITS) as u32, n_tiles as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            grad.required_address_type(),
            vector,
            grad.clone().into_buffer_arg(),
            routes.order.clone().into_buffer_arg(),
            routes.offsets.clone().into_buffer_arg(),
            scores.map(|scores| contiguous(scores).into_buffer_arg()).into(),
            parts.clone().into_buffer_arg(),
            width,
            n_experts,
            gathered.then_some(routes.top_k),
            dtype_to_elem_type(grad.dtype),
        );
        add_parts::launch_unchecked(
            &client,
            calculate_cube_count_elemwise(&client, n_experts * width, dim),
            dim,
            grad.required_address_type(),
            vector,
            parts.into_buffer_arg(),
            routes.offsets.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            width,
            n_experts,
            dtype_to_elem_type(grad.dtype),
        );
    }
    output
}

/// The sum of the rows of every tile, `[tiles, width]`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
fn add_tiles<F: Float, N: Size>(
    grad: &[Vector<F, N>],
    order: &[u32],
    offsets: &[u32],
    scores: &ComptimeOption<&[F]>,
    parts: &mut [Vector<f32, N>],
    width: usize,
    n_experts: usize,
    #[comptime] top_k: Option<usize>,
    #[define(F)] _dtype: ElemType,
) {
    let column = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    let tile = CUBE_POS_Y as usize;
    let (mut first, mut len) = (0usize, 0usize);
    let (mut first_tile, mut first_row) = (0usize, 0usize);
    for expert in 0..n_experts {
        let end = offsets[expert + 1] as usize;
        let tiles = (end - first_row).div_ceil(HEIGHT);
        if tile >= first_tile && tile < first_tile + tiles {
            first = first_row + (tile - first_tile) * HEIGHT;
            len = min(end - first, HEIGHT);
        }
        first_tile += tiles;
        first_row = end;
    }
    if len == 0 || column >= width {
        terminate!();
    }
    let mut sum = Vector::<f32, N>::new(0.0f32);
    for row in first..first + len {
        let source = match comptime!(top_k) {
            Option::Some(top_k) => (order[row] / comptime!(top_k as u32)) as usize,
            Option::None => row,
        };
        let value = Vector::<f32, N>::cast_from(grad[source * width + column]);
        match scores {
            ComptimeOption::Some(scores) => {
                let score = f32::cast_from(scores[order[row] as usize]);
                sum += value * Vector::new(score);
            }
            ComptimeOption::None => {
                sum += value;
            }
        }
    }
    parts[tile * width + column] = sum;
}

/// The sum of the tiles of every expert.
#[cube(launch_unchecked, address_type = "dynamic")]
fn add_parts<F: Float, N: Size>(
    parts: &[Vector<f32, N>],
    offsets: &[u32],
    output: &mut [Vector<F, N>],
    width: usize,
    n_experts: usize,
    #[define(F)] _dtype: ElemType,
) {
    let (expert, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
    if expert >= n_experts {
        terminate!();
    }
    let mut tile = 0usize;
    for before in 0..expert {
        tile += (offsets[before + 1] - offsets[before]).div_ceil(HEIGHT as u32) as usize;
    }
    let n_tiles = (offsets[expert + 1] - offsets[expert]).div_ceil(HEIGHT as u32) as usize;
    let mut sum = Vector::<f32, N>::new(0.0f32);
    for i in tile..tile + n_tiles {
        sum += parts[i * width + column];
    }
    output[expert * width + column] = Vector::<F, N>::cast_from(sum);
}
