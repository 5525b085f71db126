//! Sums of rows, all together or those of every expert.
//!
//! Rows are divided into tiles of fixed height, those of an expert by themselves, and the sums of tiles are
//! added up in their order.
#![allow(unsafe_code)]

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::gemm::product::RouteTensors;
use super::{contiguous, empty, row_vector_size, zeros};

/// Rows of a tile.
const HEIGHT: usize = 128;
/// Units of a cube.
const UNITS: usize = 64;

/// The sum of the rows of every expert, or of all; with scores there is a row per token, which they are the
/// factors of.
///
/// # Shapes
/// - rows: `[rows, width]`
/// - output: `[experts, width]`, or what is as long
pub(crate) fn column_sums(
    rows: CubeTensor,
    routes: Option<&RouteTensors>,
    scores: Option<CubeTensor>,
    shape: impl Into<Shape>,
) -> CubeTensor {
    let [n_rows, width] = rows.shape().dims();
    let n_rows = routes.map_or(n_rows, |routes| routes.n_rows);
    let n_experts = routes.map_or(1, |routes| routes.n_experts);
    if n_rows == 0 || width == 0 {
        return zeros(&rows, shape, rows.dtype);
    }
    let rows = contiguous(rows);
    let output = empty(&rows, shape, rows.dtype);
    let spare = routes.map_or(0, |routes| routes.n_experts);
    let n_tiles = n_rows.div_ceil(HEIGHT) + spare;
    let parts = empty(&rows, [n_tiles, width], DType::F32);
    let client = rows.client.clone();
    let vector = row_vector_size(&rows, &[width]);
    let width = width / vector;
    let dim = CubeDim::new(&client, n_experts * width);
    let top_k = match (routes, &scores) {
        (Some(routes), Some(_)) => Some(routes.top_k),
        _ => None,
    };
    let order = routes.filter(|_| top_k.is_some());
    let order = order.map(|routes| routes.order.clone().into_buffer_arg());
    let offsets = || routes.map(|routes| routes.offsets.clone().into_buffer_arg());
    // SAFETY: units beyond the last vector and cubes beyond the last tile end at once; the order of a
    // routing are choices.
    unsafe {
        add_tiles::launch_unchecked(
            &client,
            CubeCount::Static(width.div_ceil(UNITS) as u32, n_tiles as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            rows.required_address_type(),
            vector,
            rows.clone().into_buffer_arg(),
            order.into(),
            offsets().into(),
            scores
                .map(|scores| contiguous(scores).into_buffer_arg())
                .into(),
            parts.clone().into_buffer_arg(),
            n_rows,
            width,
            n_experts,
            top_k,
            dtype_to_elem_type(rows.dtype),
        );
        add_parts::launch_unchecked(
            &client,
            calculate_cube_count_elemwise(&client, n_experts * width, dim),
            dim,
            rows.required_address_type(),
            vector,
            parts.into_buffer_arg(),
            offsets().into(),
            output.clone().into_buffer_arg(),
            n_tiles,
            width,
            n_experts,
            dtype_to_elem_type(rows.dtype),
        );
    }
    output
}

/// Neighbours.
#[derive(CubeType, Clone, Copy)]
struct Span {
    first: usize,
    len: usize,
}

/// The sum of the rows of every tile, `[tiles, width]`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
fn add_tiles<F: Float, N: Size>(
    rows: &[Vector<F, N>],
    order: ComptimeOption<&[u32]>,
    offsets: ComptimeOption<&[u32]>,
    scores: ComptimeOption<&[F]>,
    parts: &mut [Vector<f32, N>],
    n_rows: usize,
    width: usize,
    n_experts: usize,
    #[comptime] top_k: Option<usize>,
    #[define(F)] _dtype: ElemType,
) {
    let column = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    let tile = CUBE_POS_Y as usize;
    #[comptime]
    let span = match offsets {
        ComptimeOption::Some(offsets) => rows_of_tile(offsets, tile, n_experts),
        ComptimeOption::None => Span {
            first: tile * HEIGHT,
            len: min(n_rows - tile * HEIGHT, HEIGHT),
        },
    };
    if span.len == 0 || column >= width {
        terminate!();
    }
    let mut sum = Vector::<f32, N>::new(0.0f32);
    for row in span.first..span.first + span.len {
        #[comptime]
        match order {
            ComptimeOption::Some(order) => {
                let choice = order[row];
                let token = (choice / comptime!(top_k.unwrap_or(1) as u32)) as usize;
                let value = Vector::<f32, N>::cast_from(rows[token * width + column]);
                let scores = scores.unwrap();
                sum += value * Vector::new(f32::cast_from(scores[choice as usize]));
            }
            ComptimeOption::None => {
                sum += Vector::<f32, N>::cast_from(rows[row * width + column]);
            }
        }
    }
    parts[tile * width + column] = sum;
}

/// First row and number of rows of a tile; none beyond the last one.
#[cube]
fn rows_of_tile(offsets: &[u32], tile: usize, n_experts: usize) -> Span {
    let mut first = 0usize;
    let mut len = 0usize;
    let mut first_tile = 0usize;
    let mut first_row = 0usize;
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
    Span { first, len }
}

/// The sum of the tiles of every expert.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
fn add_parts<F: Float, N: Size>(
    parts: &[Vector<f32, N>],
    offsets: ComptimeOption<&[u32]>,
    output: &mut [Vector<F, N>],
    n_tiles: usize,
    width: usize,
    n_experts: usize,
    #[define(F)] _dtype: ElemType,
) {
    let (expert, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
    if expert >= n_experts {
        terminate!();
    }
    #[comptime]
    let span = match offsets {
        ComptimeOption::Some(offsets) => tiles_of_expert(offsets, expert),
        ComptimeOption::None => Span {
            first: 0usize.runtime(),
            len: n_tiles,
        },
    };
    let mut sum = Vector::<f32, N>::new(0.0f32);
    for tile in span.first..span.first + span.len {
        sum += parts[tile * width + column];
    }
    output[expert * width + column] = Vector::<F, N>::cast_from(sum);
}

/// First tile and number of tiles of an expert.
#[cube]
fn tiles_of_expert(offsets: &[u32], expert: usize) -> Span {
    let mut first = 0usize;
    for before in 0..expert {
        first += (offsets[before + 1] - offsets[before]).div_ceil(HEIGHT as u32) as usize;
    }
    let len = (offsets[expert + 1] - offsets[expert]).div_ceil(HEIGHT as u32) as usize;
    Span { first, len }
}
