//! Where the factors of a product lie, and which part of it a cube has.

use cubecl::prelude::*;

/// The lengths of a product, in elements. A factor is rows of contiguous elements, those of all
/// experts one after another.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct GemmShape {
    /// Rows of the output, of one expert where the sums run over its rows.
    pub n_rows: usize,
    pub n_columns: usize,
    /// Terms of every sum; unused where those are the rows of an expert.
    pub n_terms: usize,
    pub n_experts: usize,
    /// From one row of the left factor to the next.
    pub lhs_pitch: usize,
    /// From one row of the right factor to the next.
    pub rhs_pitch: usize,
    /// Rows of the right factor for every expert; none where all share them.
    pub rhs_rows: usize,
    /// Scale bytes from one row of a packed right factor to the next.
    pub scale_pitch: usize,
    /// Global scales of a packed right factor.
    pub n_global_scales: usize,
}

/// How rows of experts take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Grouping {
    /// One product.
    None,
    /// Rows of the output belong to experts, each with its own right factor.
    Rows,
    /// Every expert has an output, a sum over its rows.
    Terms,
}

/// Which product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GemmKind {
    pub grouping: Grouping,
    /// Whether the rows of the left factor in memory are those of the output. Else they are terms.
    pub lhs_rows: bool,
    /// Whether the rows of the right factor in memory are terms. Else they are columns of the output.
    pub rhs_terms: bool,
    /// Choices of every token, if the left factor has a row per token instead of one per choice.
    pub lhs_top_k: Option<usize>,
    /// As `lhs_top_k`, for the right factor.
    pub rhs_top_k: Option<usize>,
    /// Whether the terms may be no multiple of those that are in shared memory at a time.
    pub tail: bool,
}

/// The part of a product that a cube has.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct Part {
    pub expert: usize,
    /// First row of the output within those of all experts, or of one expert if the sums run over its rows.
    pub first_row: usize,
    /// Rows; none beyond the last part.
    pub n_rows: usize,
    pub first_column: usize,
    pub first_term: usize,
    pub n_terms: usize,
    /// Rows of the output ahead of `first_row`.
    pub output_row: usize,
}

/// The part of this cube for tiles of `height` rows and `width` columns.
///
/// `CUBE_POS_X` counts tiles along the columns, `CUBE_POS_Y` along the rows, `CUBE_POS_Z` experts whose
/// rows are terms.
#[cube]
pub(crate) fn part(
    offsets: ComptimeOption<&[u32]>,
    shape: &GemmShape,
    #[comptime] kind: GemmKind,
    #[comptime] height: usize,
    first_column: usize,
) -> Part {
    let tile = CUBE_POS_Y as usize;
    #[comptime]
    match offsets {
        ComptimeOption::Some(offsets) => {
            if comptime!(kind.grouping == Grouping::Rows) {
                rows_of_expert(offsets, shape, tile, height, first_column)
            } else {
                let expert = CUBE_POS_Z as usize;
                let first_term = offsets[expert] as usize;
                Part {
                    expert: 0usize.runtime(),
                    first_row: tile * height,
                    n_rows: min(shape.n_rows - tile * height, height),
                    first_column,
                    first_term,
                    n_terms: offsets[expert + 1] as usize - first_term,
                    output_row: expert * shape.n_rows,
                }
            }
        }
        ComptimeOption::None => Part {
            expert: 0usize.runtime(),
            first_row: tile * height,
            n_rows: min(shape.n_rows - tile * height, height),
            first_column,
            first_term: 0usize.runtime(),
            n_terms: shape.n_terms,
            output_row: 0usize.runtime(),
        },
    }
}

/// Tile number `tile` if rows are divided into tiles of `height`, those of an expert by themselves.
#[cube]
fn rows_of_expert(
    offsets: &[u32],
    shape: &GemmShape,
    tile: usize,
    #[comptime] height: usize,
    first_column: usize,
) -> Part {
    let mut part = Part {
        expert: 0usize,
        first_row: 0usize,
        n_rows: 0usize,
        first_column,
        first_term: 0usize,
        n_terms: shape.n_terms,
        output_row: 0usize,
    };
    let mut first_tile = 0usize;
    let mut first_row = offsets[0] as usize;
    for expert in 0..shape.n_experts {
        let end = offsets[expert + 1] as usize;
        let tiles = (end - first_row).div_ceil(height);
        if tile >= first_tile && tile < first_tile + tiles {
            part.expert = expert;
            part.first_row = first_row + (tile - first_tile) * height;
            part.n_rows = min(end - part.first_row, height);
        }
        first_tile += tiles;
        first_row = end;
    }
    part
}

/// The row of a factor in memory for row `row` of all choices.
#[cube]
pub(crate) fn source_row(
    order: ComptimeOption<&[u32]>,
    row: usize,
    #[comptime] top_k: Option<usize>,
) -> usize {
    #[comptime]
    match order {
        ComptimeOption::Some(order) => {
            if comptime!(top_k.is_some()) {
                (order[row] / comptime!(top_k.unwrap_or(1) as u32)) as usize
            } else {
                row
            }
        }
        ComptimeOption::None => row,
    }
}
