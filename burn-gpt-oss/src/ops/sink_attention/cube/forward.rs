//! Launches of the forward pass.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use cubecl::prelude::*;

use super::super::extension::AttentionOutput;
use super::problem::Problem;
use super::{mma, rows};
use burn_fp4::backend::cube::empty;

/// See [`Problem::mma_split`]: twelve planes to a multiprocessor of an H100.
pub(super) const CUT: [usize; 3] = [4, 1, 64];

pub(super) fn run(problem: &Problem) -> AttentionOutput<CubeBackend> {
    let (batch, len, heads) = (problem.batch, problem.len, problem.heads());
    let shape = [batch, len, heads, problem.dim];
    let result = AttentionOutput {
        output: empty(&problem.query, shape, problem.dtype),
        log_sum_exp: empty(&problem.query, [batch, len, heads], DType::F32),
    };
    match problem.on_tensor_cores() {
        true => on_tensor_cores(problem, &result),
        false => by_rows(problem, &result),
    }
    result
}

fn by_rows(problem: &Problem, result: &AttentionOutput<CubeBackend>) {
    let split = problem.row_split();
    let rows = problem.len * problem.group;
    // SAFETY: units beyond the last row do the last one again and write nothing; the shapes of the
    // tensors are those of the geometry, and a window begins at the first key at the earliest.
    unsafe {
        rows::attend_rows::launch_unchecked(
            &problem.client(),
            problem.row_cubes(rows, split.units),
            CubeDim::new_1d(split.units as u32),
            problem.address_type(),
            problem.query.clone().into_buffer_arg(),
            problem.key.clone().into_buffer_arg(),
            problem.value.clone().into_buffer_arg(),
            problem.sinks.clone().into_buffer_arg(),
            problem.segments(),
            result.output.clone().into_buffer_arg(),
            result.log_sum_exp.clone().into_buffer_arg(),
            problem.geometry(),
            split,
            problem.elem_type(),
        );
    }
}

fn on_tensor_cores(problem: &Problem, result: &AttentionOutput<CubeBackend>) {
    let split = problem.mma_split(CUT);
    let rows = problem.len * problem.group;
    // SAFETY: as above.
    unsafe {
        mma::attend_mma::launch_unchecked(
            &problem.client(),
            problem.row_cubes(rows, split.rows()),
            CubeDim::new_1d(split.units() as u32),
            problem.address_type(),
            problem.query.clone().into_buffer_arg(),
            problem.key.clone().into_buffer_arg(),
            problem.value.clone().into_buffer_arg(),
            problem.sinks.clone().into_buffer_arg(),
            problem.segments(),
            result.output.clone().into_buffer_arg(),
            result.log_sum_exp.clone().into_buffer_arg(),
            problem.geometry(),
            split,
            problem.elem_type(),
        );
    }
}
