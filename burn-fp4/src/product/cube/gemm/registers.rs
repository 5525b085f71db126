//! Products without shared memory: for CubeCL's CPU runtime, and where drivers cannot be trusted with it.

use cubecl::prelude::*;

use super::element::{global_factor, lhs_element, rhs_element, term_factor, write_element};
use super::geometry::{GemmKind, GemmShape, part};
use crate::ops::kernels::format::KernelFormat;

/// Rows and columns of the output that a unit has.
pub(crate) const BLOCK: usize = 4;
/// Terms of one turn of the loop; some drivers end loops after 65,535 turns.
const UNROLL: usize = 4;

/// `lhs rhs`, or one such product for every expert; as
/// [`plane_tiles`](super::tensor_cores::plane_tiles), in elements.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn registers<F: Float, R: Float, O: Float>(
    lhs: &[F],
    rhs: ComptimeOption<&[R]>,
    codes: ComptimeOption<&[u32]>,
    scales: ComptimeOption<&[u32]>,
    global_scales: ComptimeOption<&[f32]>,
    order: ComptimeOption<&[u32]>,
    offsets: ComptimeOption<&[u32]>,
    bias: ComptimeOption<&[F]>,
    scores: ComptimeOption<&[F]>,
    output: &mut [O],
    shape: GemmShape,
    #[comptime] kind: GemmKind,
    #[comptime] format: Option<KernelFormat>,
    #[define(F)] _input: ElemType,
    #[define(R)] _right: ElemType,
    #[define(O)] _output_type: ElemType,
) {
    let first_column = (CUBE_POS_X as usize * CUBE_DIM as usize + UNIT_POS as usize) * BLOCK;
    let part = part(offsets, &shape, kind, BLOCK, first_column);
    if part.n_rows == 0 || first_column >= shape.n_columns {
        terminate!();
    }
    let mut sums = Array::<f32>::new(comptime!(BLOCK * BLOCK));
    #[unroll]
    for i in 0..comptime!(BLOCK * BLOCK) {
        sums[i] = 0.0f32;
    }
    for turn in 0..part.n_terms.div_ceil(UNROLL) {
        #[unroll]
        for t in 0..UNROLL {
            // Terms beyond the last one are that times zero.
            let term = min(turn * UNROLL + t, part.n_terms - 1);
            let inside = turn * UNROLL + t < part.n_terms;
            let factor = term_factor(scores, order, &part, term);
            let mut rows = Sequence::<f32>::new();
            #[unroll]
            for i in 0..BLOCK {
                let row = min(i, part.n_rows - 1);
                let value = lhs_element(lhs, order, &part, &shape, row, term, kind);
                rows.push(select(inside, value, 0.0f32));
            }
            #[unroll]
            for j in 0..BLOCK {
                let column = min(first_column + j, shape.n_columns - 1);
                let value = rhs_element(
                    rhs, codes, scales, order, &part, &shape, term, column, kind, format,
                );
                let value = select(inside, value * factor, 0.0f32);
                #[unroll]
                for i in 0..BLOCK {
                    let sum = comptime!(i * BLOCK + j);
                    sums[sum] = fma(*rows.index(i), value, sums[sum]);
                }
            }
        }
    }
    let factor = global_factor(global_scales, part.expert, &shape);
    #[unroll]
    for i in 0..BLOCK {
        #[unroll]
        for j in 0..BLOCK {
            if i < part.n_rows && first_column + j < shape.n_columns {
                let sum = sums[comptime!(i * BLOCK + j)] * factor;
                write_element(output, bias, &part, &shape, sum, i, first_column + j);
            }
        }
    }
}
