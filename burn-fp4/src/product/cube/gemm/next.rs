//! What is on its way from global to shared memory.

use cubecl::prelude::*;

use super::geometry::GemmKind;
use super::plane_tile::PlaneTile;
use super::stage::{
    DEPTH, Loaded, Source, StageShape, Storing, Words, find_rows, load, load_packed, store,
};
use crate::ops::kernels::format::KernelFormat;

/// What is not yet in shared memory.
#[derive(CubeType)]
pub(crate) struct Next {
    lhs: Loaded,
    rhs: Loaded,
    /// Scores of the rows of the right factor.
    factors: Array<f32>,
}

#[cube]
impl Next {
    pub fn new(#[comptime] lhs: StageShape, #[comptime] rhs: StageShape) -> Next {
        Next {
            lhs: Loaded::new(lhs),
            rhs: Loaded::new(rhs),
            factors: Array::new(comptime!(rhs.loads())),
        }
    }
}

/// Begins to load the left factor for a step, and finds the rows of the step behind it.
#[cube]
pub(crate) fn load_lhs(
    next: &mut Next,
    lhs: &[Words],
    order: ComptimeOption<&[u32]>,
    rows: &mut Array<usize>,
    source: &Source,
    step: usize,
    #[comptime] shape: StageShape,
) {
    load(&mut next.lhs, lhs, &*rows, source, step * DEPTH, shape);
    if comptime!(shape.terms) {
        find_rows(rows, order, source, (step + 1) * DEPTH, shape);
    }
}

/// As [`load_lhs`], for the right factor.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(crate) fn load_rhs<F: Float>(
    next: &mut Next,
    rhs: ComptimeOption<&[Words]>,
    codes: ComptimeOption<&[u32]>,
    scales: ComptimeOption<&[u32]>,
    scores: ComptimeOption<&[F]>,
    order: ComptimeOption<&[u32]>,
    rows: &mut Array<usize>,
    source: &Source,
    step: usize,
    #[comptime] shape: StageShape,
    #[comptime] format: Option<KernelFormat>,
) {
    let term = step * DEPTH;
    match comptime!(format) {
        Option::Some(format) => load_packed(
            &mut next.rhs,
            codes.unwrap(),
            scales.unwrap(),
            &*rows,
            source,
            term,
            shape,
            format,
        ),
        Option::None => load(&mut next.rhs, rhs.unwrap(), &*rows, source, term, shape),
    };
    load_factors::<F>(scores, order, source, &mut next.factors, term, shape);
    if comptime!(shape.terms) {
        find_rows(rows, order, source, term + DEPTH, shape);
    }
}

/// The scores of the terms that a unit loads.
#[cube]
fn load_factors<F: Float>(
    scores: ComptimeOption<&[F]>,
    order: ComptimeOption<&[u32]>,
    source: &Source,
    factors: &mut Array<f32>,
    term: usize,
    #[comptime] shape: StageShape,
) {
    #[comptime]
    match scores {
        ComptimeOption::Some(scores) => {
            let order = order.unwrap();
            #[unroll]
            for i in 0..comptime!(shape.loads()) {
                let task = UNIT_POS as usize + comptime!(i * shape.n_units);
                let row = min(term + task / shape.width, source.n_rows - 1);
                factors[i] = f32::cast_from(scores[order[source.first_row + row] as usize]);
            }
        }
        ComptimeOption::None => {}
    }
}

/// Writes the terms of a step to its half of the shared memory.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(crate) fn put<F: Float>(
    next: &Next,
    lhs_stage: &mut Shared<[Words]>,
    rhs_stage: &mut Shared<[Words]>,
    step: usize,
    n_terms: usize,
    #[comptime] tile: PlaneTile,
    #[comptime] kind: GemmKind,
    #[comptime] rhs_storing: Storing,
) {
    let lhs_shape = comptime!(tile.lhs(kind));
    let rhs_shape = comptime!(tile.rhs(kind));
    let lhs_storing = comptime!(Storing {
        format: None,
        scaled: false,
        tail: kind.tail,
    });
    let half = step % 2;
    let left = max(n_terms, step * DEPTH) - step * DEPTH;
    store::<F>(
        &next.lhs,
        lhs_stage,
        half * comptime!(lhs_shape.size()),
        &next.factors,
        left,
        lhs_shape,
        lhs_storing,
    );
    store::<F>(
        &next.rhs,
        rhs_stage,
        half * comptime!(rhs_shape.size()),
        &next.factors,
        left,
        rhs_shape,
        rhs_storing,
    );
}
