//! Products on tensor cores, with operands of 16 bits and sums in `f32`.

use cubecl::cmma::{Matrix, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;

use super::element::global_factor;
use super::epilogue::write_part;
use super::geometry::{GemmKind, GemmShape, part};
use super::multiply::multiply;
use super::next::{Next, load_lhs, load_rhs, put};
use super::plane_tile::{FRAGMENT, PlaneTile};
use super::stage::{DEPTH, Source, StageShape, Storing, VECTOR, Words, find_rows};
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::quantize::CODES_PER_WORD;

/// `lhs rhs`, or one such product for every expert.
///
/// # Shapes
///
/// All in vectors of eight along rows, the lengths of rows multiples of eight.
/// - lhs: rows of the output, or terms
/// - rhs: terms, or columns of the output; or `codes`, `scales` and `global_scales` instead
/// - order, offsets: choice of every row, first row of every expert
/// - bias: `[experts, columns]`
/// - scores: factors of the terms, by choice
/// - output: `[rows, columns]`, or `[experts, rows, columns]`
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn plane_tiles<F: Float, O: Float>(
    lhs: &[Words],
    rhs: ComptimeOption<&[Words]>,
    codes: ComptimeOption<&[u32]>,
    scales: ComptimeOption<&[u32]>,
    global_scales: ComptimeOption<&[f32]>,
    order: ComptimeOption<&[u32]>,
    offsets: ComptimeOption<&[u32]>,
    bias: ComptimeOption<&[Vector<F, Const<8>>]>,
    scores: ComptimeOption<&[F]>,
    output: &mut [Vector<O, Const<8>>],
    shape: GemmShape,
    #[comptime] kind: GemmKind,
    #[comptime] tile: PlaneTile,
    #[comptime] format: Option<KernelFormat>,
    #[define(F)] _input: ElemType,
    #[define(O)] _output_type: ElemType,
) {
    let first_column = CUBE_POS_X as usize * comptime!(tile.width());
    let part = part(
        offsets,
        &shape,
        kind,
        comptime!(tile.height()),
        first_column,
    );
    if part.n_rows == 0 {
        terminate!();
    }
    let lhs_shape = comptime!(tile.lhs(kind));
    let rhs_shape = comptime!(tile.rhs(kind));
    let lhs_source = source(
        0usize.runtime(),
        part.first_row,
        part.n_rows,
        part.first_term,
        part.n_terms,
        shape.n_rows,
        shape.lhs_pitch / VECTOR,
        0usize.runtime(),
        lhs_shape,
    );
    let rhs_per_vector = comptime!(if format.is_some() {
        CODES_PER_WORD
    } else {
        VECTOR
    });
    let rhs_source = source(
        part.expert * shape.rhs_rows,
        first_column,
        shape.n_columns - first_column,
        part.first_term,
        part.n_terms,
        shape.n_columns,
        shape.rhs_pitch / rhs_per_vector,
        shape.scale_pitch,
        rhs_shape,
    );
    let mut lhs_stage = Shared::<[Words]>::new_slice(comptime!(2 * lhs_shape.size()));
    let mut rhs_stage = Shared::<[Words]>::new_slice(comptime!(2 * rhs_shape.size()));
    let mut sums = Sequence::<Matrix<f32>>::new();
    #[unroll]
    for _i in 0..comptime!(tile.fragments.0 * tile.fragments.1) {
        sums.push(Matrix::<f32>::from_value(
            MatrixIdent::Accumulator,
            FRAGMENT,
            FRAGMENT,
            FRAGMENT,
            MatrixLayout::Undefined,
            0.0f32,
        ));
    }

    let rhs_storing = comptime!(Storing {
        format,
        scaled: scores.is_some(),
        tail: kind.tail,
    });
    let n_steps = part.n_terms.div_ceil(DEPTH);
    if n_steps > 0 {
        let mut lhs_rows = Array::<usize>::new(comptime!(lhs_shape.loads()));
        let mut rhs_rows = Array::<usize>::new(comptime!(rhs_shape.loads()));
        let mut next = Next::new(lhs_shape, rhs_shape);
        find_rows(&mut lhs_rows, order, &lhs_source, 0usize, lhs_shape);
        find_rows(&mut rhs_rows, order, &rhs_source, 0usize, rhs_shape);
        // In every step its terms are multiplied; before that, those of the next one go to shared memory, and
        // the loads begin of those behind it, which so have a whole step. Steps beyond the last one are loaded
        // and stored, too, to no effect: behind a condition, compilers would move loads to where they are
        // waited for.
        load_lhs(
            &mut next,
            lhs,
            order,
            &mut lhs_rows,
            &lhs_source,
            0usize,
            lhs_shape,
        );
        load_rhs::<F>(
            &mut next,
            rhs,
            codes,
            scales,
            scores,
            order,
            &mut rhs_rows,
            &rhs_source,
            0usize,
            rhs_shape,
            format,
        );
        put::<F>(
            &next,
            &mut lhs_stage,
            &mut rhs_stage,
            0usize,
            part.n_terms,
            tile,
            kind,
            rhs_storing,
        );
        load_lhs(
            &mut next,
            lhs,
            order,
            &mut lhs_rows,
            &lhs_source,
            1usize,
            lhs_shape,
        );
        load_rhs::<F>(
            &mut next,
            rhs,
            codes,
            scales,
            scores,
            order,
            &mut rhs_rows,
            &rhs_source,
            1usize,
            rhs_shape,
            format,
        );
        sync_cube();
        for step in 0..n_steps {
            put::<F>(
                &next,
                &mut lhs_stage,
                &mut rhs_stage,
                step + 1,
                part.n_terms,
                tile,
                kind,
                rhs_storing,
            );
            load_lhs(
                &mut next,
                lhs,
                order,
                &mut lhs_rows,
                &lhs_source,
                step + 2,
                lhs_shape,
            );
            load_rhs::<F>(
                &mut next,
                rhs,
                codes,
                scales,
                scores,
                order,
                &mut rhs_rows,
                &rhs_source,
                step + 2,
                rhs_shape,
                format,
            );
            let half = step % 2;
            multiply::<F>(
                &lhs_stage,
                &rhs_stage,
                half * comptime!(lhs_shape.size()),
                half * comptime!(rhs_shape.size()),
                &sums,
                tile,
                kind,
            );
            sync_cube();
        }
    }
    let factor = global_factor(global_scales, part.expert, &shape);
    write_part::<F, O>(&sums, output, bias, &part, &shape, factor, tile);
}

/// Where a factor lies for the part of this cube. `first` and `n` are rows or columns of the output.
#[cube]
#[allow(clippy::too_many_arguments)]
fn source(
    base: usize,
    first: usize,
    n: usize,
    first_term: usize,
    n_terms: usize,
    len: usize,
    pitch: usize,
    scale_pitch: usize,
    #[comptime] shape: StageShape,
) -> Source {
    if comptime!(shape.terms) {
        Source {
            base,
            pitch,
            scale_pitch,
            last_column: len / VECTOR - 1,
            first_row: first_term,
            n_rows: n_terms,
            first_column: first / VECTOR,
        }
    } else {
        Source {
            base,
            pitch,
            scale_pitch,
            last_column: n_terms / VECTOR - 1,
            first_row: first,
            n_rows: n,
            first_column: 0usize.runtime(),
        }
    }
}
