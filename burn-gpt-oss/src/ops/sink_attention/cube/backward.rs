//! Launches of the backward pass.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::super::extension::{AttentionInputs, AttentionOutput};
use super::problem::{Problem, sum_cubes};
use super::rows::Side;
use super::statistics::{sink_parts, sink_sums, statistics};
use super::{mma, rows};
use burn_fp4::backend::cube::{contiguous, empty};

/// Queries in a partial sum of the gradient of a sink.
const PART: usize = 32;
/// Units that share a sum, where they can.
const LANES: usize = 32;
/// See [`Problem::mma_split`]: twelve planes to a multiprocessor of an H100.
pub(super) const QUERY_CUT: [usize; 3] = [4, 1, 64];
pub(super) const KEY_CUT: [usize; 3] = [4, 1, 32];

pub(super) fn run(
    grad: CubeTensor,
    problem: &Problem,
    output: AttentionOutput<CubeBackend>,
    sink_dtype: DType,
) -> AttentionInputs<CubeBackend> {
    let grad = contiguous(grad);
    let statistics = row_statistics(problem, &grad, output);
    let like = |tensor: &CubeTensor| empty(tensor, tensor.shape(), tensor.dtype);
    let gradients = AttentionInputs {
        query: like(&problem.query),
        key: like(&problem.key),
        value: like(&problem.value),
        sinks: sinks(problem, &statistics, sink_dtype),
    };
    if problem.on_tensor_cores() {
        on_tensor_cores(problem, &grad, &statistics, &gradients);
    } else {
        queries_by_rows(problem, &grad, &statistics, &gradients.query);
        keys_by_rows(problem, &grad, &statistics, Side::Key, &gradients.key);
        keys_by_rows(problem, &grad, &statistics, Side::Value, &gradients.value);
    }
    gradients
}

/// f32 `[rows, 2]`, see [`statistics`].
fn row_statistics(
    problem: &Problem,
    grad: &CubeTensor,
    output: AttentionOutput<CubeBackend>,
) -> CubeTensor {
    let rows = problem.rows();
    let to = empty(grad, [rows, 2], DType::F32);
    let vectors = problem.dim / 4;
    let split = problem.sum_split(vectors, 1 << vectors.min(LANES).ilog2());
    // SAFETY: units beyond the last row do the last one again and write nothing; all tensors have
    // that many rows.
    unsafe {
        statistics::launch_unchecked(
            &problem.client(),
            sum_cubes(rows * split.lanes, &split),
            CubeDim::new_1d(split.units as u32),
            problem.address_type(),
            contiguous(output.output).into_buffer_arg(),
            grad.clone().into_buffer_arg(),
            contiguous(output.log_sum_exp).into_buffer_arg(),
            to.clone().into_buffer_arg(),
            rows,
            split,
            problem.elem_type(),
        );
    }
    to
}

/// The gradient of the sinks, in two steps: parts of all queries, then their sum.
fn sinks(problem: &Problem, statistics: &CubeTensor, dtype: DType) -> CubeTensor {
    let (heads, queries) = (problem.heads(), problem.batch * problem.len);
    let n_parts = queries.div_ceil(PART);
    let parts = empty(statistics, [n_parts, heads], DType::F32);
    let sums = empty(statistics, [heads], DType::F32);
    let (each, all) = (problem.sum_split(PART, 1), problem.sum_split(1, LANES));
    // SAFETY: units beyond the last part or head write nothing, and parts end at the last query.
    unsafe {
        sink_parts::launch_unchecked(
            &problem.client(),
            sum_cubes(n_parts * heads, &each),
            CubeDim::new_1d(each.units as u32),
            problem.address_type(),
            statistics.clone().into_buffer_arg(),
            problem.sinks.clone().into_buffer_arg(),
            parts.clone().into_buffer_arg(),
            queries,
            heads,
            each,
        );
        sink_sums::launch_unchecked(
            &problem.client(),
            sum_cubes(heads * all.lanes, &all),
            CubeDim::new_1d(all.units as u32),
            problem.address_type(),
            parts.into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            n_parts,
            heads,
            all,
        );
    }
    CubeBackend::float_cast(sums, dtype.into())
}

fn queries_by_rows(problem: &Problem, grad: &CubeTensor, statistics: &CubeTensor, to: &CubeTensor) {
    let split = problem.row_split();
    // SAFETY: as for the forward pass.
    unsafe {
        rows::query_gradient_rows::launch_unchecked(
            &problem.client(),
            problem.row_cubes(problem.len * problem.group, split.units),
            CubeDim::new_1d(split.units as u32),
            problem.address_type(),
            problem.query.clone().into_buffer_arg(),
            problem.key.clone().into_buffer_arg(),
            problem.value.clone().into_buffer_arg(),
            grad.clone().into_buffer_arg(),
            statistics.clone().into_buffer_arg(),
            problem.segments(),
            to.clone().into_buffer_arg(),
            problem.geometry(),
            split,
            problem.elem_type(),
        );
    }
}

fn keys_by_rows(
    problem: &Problem,
    grad: &CubeTensor,
    statistics: &CubeTensor,
    side: Side,
    to: &CubeTensor,
) {
    let split = problem.row_split();
    // SAFETY: units beyond the last key do the last one again and write nothing; queries that see a
    // key end at the last one.
    unsafe {
        rows::key_gradient_rows::launch_unchecked(
            &problem.client(),
            problem.row_cubes(problem.keys, split.units),
            CubeDim::new_1d(split.units as u32),
            problem.address_type(),
            problem.query.clone().into_buffer_arg(),
            problem.key.clone().into_buffer_arg(),
            problem.value.clone().into_buffer_arg(),
            grad.clone().into_buffer_arg(),
            statistics.clone().into_buffer_arg(),
            problem.segments(),
            to.clone().into_buffer_arg(),
            problem.geometry(),
            side,
            split,
            problem.elem_type(),
        );
    }
}

fn on_tensor_cores(
    problem: &Problem,
    grad: &CubeTensor,
    statistics: &CubeTensor,
    to: &AttentionInputs<CubeBackend>,
) {
    let queries = problem.mma_split(QUERY_CUT);
    let keys = problem.mma_split(KEY_CUT);
    // SAFETY: as above, for queries and for keys.
    unsafe {
        mma::query_gradient_mma::launch_unchecked(
            &problem.client(),
            problem.row_cubes(problem.len * problem.group, queries.rows()),
            CubeDim::new_1d(queries.units() as u32),
            problem.address_type(),
            problem.query.clone().into_buffer_arg(),
            problem.key.clone().into_buffer_arg(),
            problem.value.clone().into_buffer_arg(),
            grad.clone().into_buffer_arg(),
            statistics.clone().into_buffer_arg(),
            problem.segments(),
            to.query.clone().into_buffer_arg(),
            problem.geometry(),
            queries,
            problem.elem_type(),
        );
        mma::key_gradient_mma::launch_unchecked(
            &problem.client(),
            problem.row_cubes(problem.keys, keys.rows()),
            CubeDim::new_1d(keys.units() as u32),
            problem.address_type(),
            problem.query.clone().into_buffer_arg(),
            problem.key.clone().into_buffer_arg(),
            problem.value.clone().into_buffer_arg(),
            grad.clone().into_buffer_arg(),
            statistics.clone().into_buffer_arg(),
            problem.segments(),
            to.key.clone().into_buffer_arg(),
            to.value.clone().into_buffer_arg(),
            problem.geometry(),
            keys,
            problem.elem_type(),
        );
    }
}
