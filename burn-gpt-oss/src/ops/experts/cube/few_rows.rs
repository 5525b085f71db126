//! Few rows times packed matrices: text generation, where the time is that of reading the matrices.

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use burn_fp4::Fp4Scheme;
use burn_fp4::backend::{Fp4Backend, Fp4Primitive};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use crate::ops::cube::gemm::RouteTensors;
use crate::ops::cube::{contiguous, empty, float_type};

/// Rows for which reading a matrix for each of them is no more than its tiles would take.
const FEW: usize = 16;

/// Whether [`few_rows`] is the way to the product with a weight.
pub(super) fn are_few(weight: &Fp4Primitive<CubeBackend>, routes: &RouteTensors) -> bool {
    let empty = weight.codes.shape().as_slice().contains(&0);
    (1..=FEW).contains(&routes.n_rows) && !empty
}

/// `rows x matrices (+ bias)`, a row per choice, by the kernels of burn-fp4 that read every code once per
/// row; sums and bias are rounded together.
///
/// # Shapes
/// - rows: `[tokens, in]` if they are `gathered`, else `[tokens * top_k, in]`
/// - output: `[tokens * top_k, out]`, dtype of `rows`
pub(super) fn few_rows(
    rows: CubeTensor,
    gathered: bool,
    (weight, scheme): (Fp4Primitive<CubeBackend>, Fp4Scheme),
    bias: Option<CubeTensor>,
    routes: &RouteTensors,
) -> CubeTensor {
    let dtype = rows.dtype;
    let (rows, experts) = sorted(contiguous(rows), gathered, routes);
    let products = CubeBackend::fp4_expert_linear(rows, experts.clone(), weight, scheme);
    finished(
        contiguous(products),
        experts,
        bias.map(contiguous),
        dtype,
        routes,
    )
}

/// The rows in the order of the routing in `f32`, and the expert of each.
fn sorted(rows: CubeTensor, gathered: bool, routes: &RouteTensors) -> (CubeTensor, CubeTensor) {
    let width = rows.shape()[1];
    let output = empty(&rows, [routes.n_rows, width], DType::F32);
    let experts = empty(&rows, [routes.n_rows], DType::U32);
    let client = rows.client.clone();
    let n = routes.n_rows * width;
    let dim = CubeDim::new(&client, n);
    // SAFETY: units beyond the last element end at once; the order of a routing is a permutation of the
    // choices.
    unsafe {
        sort_rows::launch_unchecked(
            &client,
            calculate_cube_count_elemwise(&client, n, dim),
            dim,
            rows.clone().into_buffer_arg(),
            routes.order.clone().into_buffer_arg(),
            routes.offsets.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            experts.clone().into_buffer_arg(),
            n,
            width,
            if gathered { routes.top_k } else { 0 },
            routes.n_experts,
            float_type(&rows),
        );
    }
    (output, experts)
}

fn finished(
    products: CubeTensor,
    experts: CubeTensor,
    bias: Option<CubeTensor>,
    dtype: DType,
    routes: &RouteTensors,
) -> CubeTensor {
    let width = products.shape()[1];
    let output = empty(&products, [routes.n_rows, width], dtype);
    let client = products.client.clone();
    let n = routes.n_rows * width;
    if n == 0 {
        return output;
    }
    let dim = CubeDim::new(&client, n);
    // SAFETY: units beyond the last element end at once; experts are those of the routing.
    unsafe {
        add_bias::launch_unchecked(
            &client,
            calculate_cube_count_elemwise(&client, n, dim),
            dim,
            products.into_buffer_arg(),
            experts.into_buffer_arg(),
            bias.map(CubeTensor::into_buffer_arg).into(),
            output.clone().into_buffer_arg(),
            n,
            width,
            float_type(&output),
        );
    }
    output
}

/// `top_k` is 0 where rows are in the order of the routing already.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn sort_rows<F: Float>(
    rows: &[F],
    order: &[u32],
    offsets: &[u32],
    output: &mut [f32],
    experts: &mut [u32],
    n: usize,
    width: usize,
    #[comptime] top_k: usize,
    n_experts: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n {
        terminate!();
    }
    let (row, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
    let source = if comptime!(top_k == 0) {
        row
    } else {
        order[row] as usize / top_k
    };
    output[ABSOLUTE_POS] = f32::cast_from(rows[source * width + column]);
    if column == 0 {
        // As many experts begin at or before a row as its own number and one.
        let mut expert = 0u32;
        for next in 1..n_experts {
            expert += u32::cast_from(offsets[next] <= row as u32);
        }
        experts[row] = expert;
    }
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn add_bias<F: Float>(
    products: &[f32],
    experts: &[u32],
    bias: ComptimeOption<&[F]>,
    output: &mut [F],
    n: usize,
    width: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n {
        terminate!();
    }
    let product = products[ABSOLUTE_POS];
    #[comptime]
    let sum = match bias {
        ComptimeOption::Some(bias) => {
            let (row, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
            product + f32::cast_from(bias[experts[row] as usize * width + column])
        }
        ComptimeOption::None => product,
    };
    output[ABSOLUTE_POS] = F::cast_from(sum);
}
