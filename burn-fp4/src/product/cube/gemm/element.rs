//! Single elements of the factors, as `f32`.

use cubecl::prelude::*;

use super::geometry::{GemmKind, GemmShape, Part, source_row};
use crate::ops::kernels::block_scale::scale_value;
use crate::ops::kernels::codes::{byte_of, code_value};
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::quantize::CODES_PER_WORD;

/// Where row `outer` of the output and term `term` of the left factor are; both of the part.
#[cube]
pub(crate) fn lhs_element<F: Float>(
    lhs: &[F],
    order: ComptimeOption<&[u32]>,
    part: &Part,
    shape: &GemmShape,
    outer: usize,
    term: usize,
    #[comptime] kind: GemmKind,
) -> f32 {
    let (outer, term) = (part.first_row + outer, part.first_term + term);
    let at = if comptime!(kind.lhs_rows) {
        source_row(order, outer, kind.lhs_top_k) * shape.lhs_pitch + term
    } else {
        source_row(order, term, kind.lhs_top_k) * shape.lhs_pitch + outer
    };
    f32::cast_from(lhs[at])
}

/// Element `[term, column]` of the right factor, without its global scale; `term` of the part, `column` of
/// the output.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(crate) fn rhs_element<R: Float>(
    rhs: ComptimeOption<&[R]>,
    codes: ComptimeOption<&[u32]>,
    scales: ComptimeOption<&[u32]>,
    order: ComptimeOption<&[u32]>,
    part: &Part,
    shape: &GemmShape,
    term: usize,
    column: usize,
    #[comptime] kind: GemmKind,
    #[comptime] format: Option<KernelFormat>,
) -> f32 {
    let term = part.first_term + term;
    let base = part.expert * shape.rhs_rows;
    let (row, at) = if comptime!(kind.rhs_terms) {
        (base + source_row(order, term, kind.rhs_top_k), column)
    } else {
        (base + source_row(order, column, kind.rhs_top_k), term)
    };
    match comptime!(format) {
        Option::Some(format) => {
            let codes = codes.unwrap();
            let scales = scales.unwrap();
            let word = codes[row * (shape.rhs_pitch / CODES_PER_WORD) + at / CODES_PER_WORD];
            let code = word >> (4u32 * (at % CODES_PER_WORD) as u32);
            let position = row * shape.scale_pitch + at / format.block_size;
            let byte = byte_of(scales[position / 4], position);
            code_value(code) * scale_value(byte, format.scales)
        }
        Option::None => {
            let rhs = rhs.unwrap();
            f32::cast_from(rhs[row * shape.rhs_pitch + at])
        }
    }
}

/// The factor of a term, 1 without scores.
#[cube]
pub(crate) fn term_factor<F: Float>(
    scores: ComptimeOption<&[F]>,
    order: ComptimeOption<&[u32]>,
    part: &Part,
    term: usize,
) -> f32 {
    #[comptime]
    match scores {
        ComptimeOption::Some(scores) => {
            let order = order.unwrap();
            f32::cast_from(scores[order[part.first_term + term] as usize])
        }
        ComptimeOption::None => 1.0f32.runtime(),
    }
}

/// What all values of an expert's packed matrix are multiplied with.
#[cube]
pub(crate) fn global_factor(
    global_scales: ComptimeOption<&[f32]>,
    expert: usize,
    shape: &GemmShape,
) -> f32 {
    #[comptime]
    match global_scales {
        ComptimeOption::Some(scales) => scales[min(expert, shape.n_global_scales - 1)],
        ComptimeOption::None => 1.0f32.runtime(),
    }
}

/// Writes a sum to row `row` of the part and column `column` of the output.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(crate) fn write_element<F: Float, O: Float>(
    output: &mut [O],
    bias: ComptimeOption<&[F]>,
    part: &Part,
    shape: &GemmShape,
    sum: f32,
    row: usize,
    column: usize,
) {
    #[comptime]
    let value = match bias {
        ComptimeOption::Some(bias) => {
            sum + f32::cast_from(bias[part.expert * shape.n_columns + column])
        }
        ComptimeOption::None => sum,
    };
    let place = part.output_row + part.first_row + row;
    output[place * shape.n_columns + column] = O::cast_from(value);
}
