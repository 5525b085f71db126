//! Products compiled for NVIDIA GPUs, without one.

mod few_rows;
mod gemm;
mod merge;

use cubecl::prelude::*;
use kernel_harness::ptx::BUFFER;

use super::gemm::geometry::GemmShapeCompilationArg;

const SHAPE: GemmShapeCompilationArg = GemmShapeCompilationArg {
    n_rows: (),
    n_columns: (),
    n_terms: (),
    n_experts: (),
    lhs_pitch: (),
    rhs_pitch: (),
    rhs_rows: (),
    scale_pitch: (),
    n_global_scales: (),
};

/// A buffer that is not always there.
fn when<T>(condition: bool) -> ComptimeOptionCompilationArg<T>
where
    T: LaunchArg<CompilationArg = BufferCompilationArg>,
{
    match condition {
        true => ComptimeOptionCompilationArg::Some(BUFFER),
        false => ComptimeOptionCompilationArg::None,
    }
}
