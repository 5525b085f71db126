//! The kernel. A team has some outputs of some rows; its units take turns at the vectors of the weight.

use cubecl::prelude::*;

use super::dense::add_dense;
use super::packed::add_packed;
use crate::ops::kernels::format::KernelFormat;
use crate::product::cube::gemm::element::global_factor;
use crate::product::cube::gemm::geometry::{GemmShape, source_row};
use crate::product::cube::team::{Team, team_rank, team_row, team_sum};

/// What a team has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FewRowsSplit {
    pub rows: usize,
    pub outputs: usize,
    pub team: Team,
    /// Choices of every token, if there is a row per token instead of one per choice.
    pub top_k: Option<usize>,
}

impl FewRowsSplit {
    /// Sums of a team.
    pub const fn sums(self) -> usize {
        self.rows * self.outputs
    }
}

/// Rows times a weight with a row per output.
///
/// Teams with the same outputs are neighbours, so that the second of them finds those in the cache.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn few_rows<F: Float, R: Float, O: Float, N: Size, M: Size>(
    rows: &[Vector<F, N>],
    dense: ComptimeOption<&[Vector<R, N>]>,
    codes: ComptimeOption<&[Vector<u32, M>]>,
    scales: ComptimeOption<&[u32]>,
    global_scales: ComptimeOption<&[f32]>,
    order: ComptimeOption<&[u32]>,
    offsets: ComptimeOption<&[u32]>,
    bias: ComptimeOption<&[F]>,
    output: &mut [O],
    shape: GemmShape,
    #[comptime] split: FewRowsSplit,
    #[comptime] format: Option<KernelFormat>,
    #[define(F)] _row_type: ElemType,
    #[define(R)] _weight_type: ElemType,
    #[define(O)] _output_type: ElemType,
) {
    let row_groups = shape.n_rows.div_ceil(split.rows);
    let number = team_row(split.team);
    let first_output = number / row_groups * split.outputs;
    let first_row = number % row_groups * split.rows;
    if first_output >= shape.n_columns {
        terminate!();
    }
    let expert = expert_of(offsets, first_row, shape.n_experts);
    // Rows and outputs beyond the last ones are those again.
    let mut sources = Sequence::<usize>::new();
    #[unroll]
    for r in 0..comptime!(split.rows) {
        let row = min(first_row + r, shape.n_rows - 1);
        sources.push(source_row(order, row, split.top_k));
    }
    let mut weights = Sequence::<usize>::new();
    #[unroll]
    for j in 0..comptime!(split.outputs) {
        let output = min(first_output + j, shape.n_columns - 1);
        weights.push(expert * shape.rhs_rows + output);
    }
    let rank = team_rank(split.team);
    let mut sums = Array::<f32>::new(comptime!(split.sums()));
    match comptime!(format) {
        Option::Some(format) => add_packed::<F, N, M>(
            rows,
            codes.unwrap(),
            scales.unwrap(),
            &sources,
            &weights,
            &mut sums,
            &shape,
            rank,
            split,
            format,
        ),
        Option::None => add_dense::<F, R, N>(
            rows,
            dense.unwrap(),
            &sources,
            &weights,
            &mut sums,
            &shape,
            rank,
            split,
        ),
    }
    let factor = global_factor(global_scales, expert, &shape);
    #[unroll]
    for r in 0..comptime!(split.rows) {
        #[unroll]
        for j in 0..comptime!(split.outputs) {
            let sum = team_sum(sums[comptime!(r * split.outputs + j)], split.team) * factor;
            let (row, column) = (first_row + r, first_output + j);
            if rank == 0 && row < shape.n_rows && column < shape.n_columns {
                #[comptime]
                let sum = match bias {
                    ComptimeOption::Some(bias) => {
                        sum + f32::cast_from(bias[expert * shape.n_columns + column])
                    }
                    ComptimeOption::None => sum,
                };
                output[row * shape.n_columns + column] = O::cast_from(sum);
            }
        }
    }
}

/// The expert of a row, the first one where there are no others.
#[cube]
fn expert_of(offsets: ComptimeOption<&[u32]>, row: usize, n_experts: usize) -> usize {
    #[comptime]
    match offsets {
        ComptimeOption::Some(offsets) => {
            // As many experts begin at or before a row as its own number and one.
            let mut expert = 0u32;
            for next in 1..n_experts {
                expert += u32::cast_from(offsets[next] <= row as u32);
            }
            expert as usize
        }
        ComptimeOption::None => 0usize.runtime(),
    }
}
