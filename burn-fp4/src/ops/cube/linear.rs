//! Launches of products with packed weights.

use burn_cubecl::CubeBackend;
use burn_cubecl::ops::numeric::zeros_client;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::buffer::{empty_like, words};
use super::product::Product;
use crate::ops::Fp4Primitive;
use crate::ops::kernels::experts::{count_rows, order_rows};
use crate::ops::kernels::gemm::{GemmKind, GemmRowsLaunch, gemm};
use crate::ops::kernels::gemv::{GemvRowsLaunch, GemvSplit, gemv};
use crate::ops::kernels::gemv_backward::{GradientRowsLaunch, gemv_backward};
use crate::scheme::Fp4Scheme;

/// Rows for which a code is decoded once by the kernel for few of them.
const FEW_ROWS: usize = 16;
/// Cubes along an axis of the grid that every runtime has.
const MAX_CUBES: usize = 65_535;

/// `[n, in] x [out, in]^T -> [n, out]`, with an expert for every row if there are `experts`.
pub(super) fn forward(
    rows: CubeTensor,
    experts: Option<CubeTensor>,
    weight: Fp4Primitive<CubeBackend>,
    scheme: &Fp4Scheme,
) -> CubeTensor {
    let product = Product::new(rows, experts, weight, scheme, false);
    if product.n_rows > FEW_ROWS && product.device.shares {
        launch_gemm(&product, false);
    } else {
        launch_gemv(&product);
    }
    product.output
}

/// `[n, out] x [out, in] -> [n, in]`
pub(super) fn backward(
    grad: CubeTensor,
    experts: Option<CubeTensor>,
    weight: Fp4Primitive<CubeBackend>,
    scheme: &Fp4Scheme,
) -> CubeTensor {
    let product = Product::new(grad, experts, weight, scheme, true);
    if product.device.shares {
        launch_gemm(&product, true);
    } else {
        launch_gemv_backward(&product);
    }
    product.output
}

fn launch_gemv(product: &Product) {
    let (client, floats) = (&product.rows.client, product.floats);
    let code_words = product.code_vector();
    let row_words = product.row_vector();
    let vectors = product.d_input / (8 * code_words);
    let rows = match product.experts {
        Some(_) => 1,
        None => product.n_rows.next_power_of_two().min(FEW_ROWS),
    };
    let split = GemvSplit {
        lanes: product.device.lanes.min(vectors.next_power_of_two()),
        units: product.device.units,
        // As many sums as registers allow.
        outputs: if rows > 2 { 2 } else { 4 },
        rows,
        planes: product.device.planes,
        indexed: product.experts.is_some(),
    };
    let of_cube = split.units / split.lanes * split.outputs;
    let cubes = product.d_output.div_ceil(of_cube);
    // SAFETY: rows and outputs beyond the end read the last ones and are not written; experts are
    // clamped; all else follows from the geometry of the buffers.
    unsafe {
        gemv::launch_unchecked(
            client,
            grid(cubes, product.n_rows.div_ceil(rows)),
            CubeDim::new_1d(split.units as u32),
            product.address_type(),
            code_words,
            row_words,
            words(product.rows.handle.clone()),
            product.experts(),
            words(product.codes.handle.clone()),
            words(product.scales.handle.clone()),
            words(product.global_scales.handle.clone()),
            words(product.output.handle.clone()),
            GemvRowsLaunch::new(
                product.n_rows,
                product.row_pitch / (floats.per_word() * row_words),
                product.output_pitch / floats.per_word(),
            ),
            product.weight(code_words),
            split,
            product.format,
            floats,
        );
    }
}

/// Cubes along the outputs and along the rows, see [`row_cube`](crate::ops::kernels::packed_weight::row_cube).
fn grid(outputs: usize, rows: usize) -> CubeCount {
    let depth = rows.div_ceil(MAX_CUBES);
    CubeCount::Static(outputs as u32, rows.div_ceil(depth) as u32, depth as u32)
}

fn launch_gemv_backward(product: &Product) {
    let client = &product.rows.client;
    let rows = match product.experts {
        Some(_) => 1,
        None => product.n_rows.next_power_of_two().min(4),
    };
    let cubes = (product.d_input / 8).div_ceil(product.device.units);
    // SAFETY: units beyond the last column end at once, rows beyond the last one are not written.
    unsafe {
        gemv_backward::launch_unchecked(
            client,
            grid(cubes, product.n_rows.div_ceil(rows)),
            CubeDim::new_1d(product.device.units as u32),
            product.address_type(),
            words(product.rows.handle.clone()),
            product.experts(),
            words(product.codes.handle.clone()),
            words(product.scales.handle.clone()),
            words(product.global_scales.handle.clone()),
            words(product.output.handle.clone()),
            GradientRowsLaunch::new(
                product.n_rows,
                product.row_pitch,
                product.output_pitch / product.floats.per_word(),
            ),
            product.weight(1),
            rows,
            product.experts.is_some(),
            product.format,
            product.floats,
        );
    }
}

fn launch_gemm(product: &Product, backward: bool) {
    let client = &product.rows.client;
    let tile = product.device.tile(product.n_rows);
    let kind = GemmKind {
        backward,
        indexed: product.experts.is_some(),
    };
    let columns = if backward {
        product.d_input
    } else {
        product.d_output
    };
    let (order, counts) = match &product.experts {
        Some(experts) => grouped(product, experts),
        // Nothing reads them.
        None => (product.codes.clone(), product.codes.clone()),
    };
    // Every expert may leave one tile unfilled.
    let spare = product.experts.as_ref().map_or(0, |_| product.n_experts);
    let tiles = product.n_rows.div_ceil(tile.height()) + spare;
    // SAFETY: what is beyond the last row, column or term is replaced by the last one; tiles without
    // rows end at once.
    unsafe {
        gemm::launch_unchecked(
            client,
            CubeCount::Static(columns.div_ceil(tile.width()) as u32, tiles as u32, 1),
            CubeDim::new_1d(tile.n_units() as u32),
            product.address_type(),
            words(product.rows.handle.clone()),
            words(order.handle),
            words(counts.handle),
            words(product.codes.handle.clone()),
            words(product.scales.handle.clone()),
            words(product.global_scales.handle.clone()),
            words(product.output.handle.clone()),
            GemmRowsLaunch::new(product.n_rows, product.row_pitch, product.output_pitch),
            product.weight(1),
            tile,
            kind,
            product.format,
            product.floats,
        );
    }
}

/// Rows in the order of their experts, and how many each has.
fn grouped(product: &Product, experts: &CubeTensor) -> (CubeTensor, CubeTensor) {
    let (client, device) = (experts.client.clone(), experts.device.clone());
    let (n_rows, n_experts) = (product.n_rows, product.n_experts);
    let counts = zeros_client(client.clone(), device, [n_experts].into(), experts.dtype);
    let places = empty_like(experts, n_rows);
    let order = empty_like(experts, n_rows);
    let dim = CubeDim::new(&client, n_rows);
    let count = calculate_cube_count_elemwise(&client, n_rows, dim);
    // SAFETY: units beyond the last row end at once, experts are clamped, and places are below the
    // number of rows of their expert.
    unsafe {
        count_rows::launch_unchecked(
            &client,
            count.clone(),
            dim,
            words(experts.handle.clone()),
            words(counts.handle.clone()),
            words(places.handle.clone()),
            n_rows,
            n_experts,
        );
        order_rows::launch_unchecked(
            &client,
            count,
            dim,
            words(experts.handle.clone()),
            words(counts.handle.clone()),
            words(places.handle),
            words(order.handle.clone()),
            n_rows,
            n_experts,
        );
    }
    (order, counts)
}
