//! Products of what is in shared memory.

use cubecl::cmma::{self, Matrix, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;

use super::geometry::GemmKind;
use super::plane_tile::{FRAGMENT, PLANE, PlaneTile};
use super::stage::{DEPTH, StageShape, VECTOR, Words};

/// Adds the products of the terms in shared memory.
#[cube]
pub(crate) fn multiply<F: Float>(
    lhs: &Shared<[Words]>,
    rhs: &Shared<[Words]>,
    lhs_first: usize,
    rhs_first: usize,
    sums: &Sequence<Matrix<f32>>,
    #[comptime] tile: PlaneTile,
    #[comptime] kind: GemmKind,
) {
    let lhs_shape = comptime!(tile.lhs(kind));
    let rhs_shape = comptime!(tile.rhs(kind));
    let plane = UNIT_POS as usize / PLANE;
    let row = plane / tile.planes.1 * comptime!(tile.fragments.0 * FRAGMENT);
    let column = plane % tile.planes.1 * comptime!(tile.fragments.1 * FRAGMENT);
    #[unroll]
    for k in 0..comptime!(DEPTH / FRAGMENT) {
        let mut rows = Sequence::<Matrix<F>>::new();
        #[unroll]
        for i in 0..comptime!(tile.fragments.0) {
            rows.push(fragment::<F>(
                lhs,
                lhs_first,
                row + comptime!(i * FRAGMENT),
                comptime!(k * FRAGMENT),
                MatrixIdent::A,
                comptime!(if lhs_shape.terms {
                    MatrixLayout::ColMajor
                } else {
                    MatrixLayout::RowMajor
                }),
                lhs_shape,
            ));
        }
        #[unroll]
        for j in 0..comptime!(tile.fragments.1) {
            let columns = fragment::<F>(
                rhs,
                rhs_first,
                column + comptime!(j * FRAGMENT),
                comptime!(k * FRAGMENT),
                MatrixIdent::B,
                comptime!(if rhs_shape.terms {
                    MatrixLayout::RowMajor
                } else {
                    MatrixLayout::ColMajor
                }),
                rhs_shape,
            );
            #[unroll]
            for i in 0..comptime!(tile.fragments.0) {
                let sum = sums.index(comptime!(i * tile.fragments.1 + j));
                cmma::execute::<F, F, f32, f32, cmma::Plane>(rows.index(i), &columns, sum, sum);
            }
        }
    }
}

/// The fragment for 16 rows or columns of the output from `outer` on, and 16 terms from `term` on.
#[cube]
fn fragment<F: Float>(
    stage: &Shared<[Words]>,
    first: usize,
    outer: usize,
    #[comptime] term: usize,
    #[comptime] ident: MatrixIdent,
    #[comptime] layout: MatrixLayout,
    #[comptime] shape: StageShape,
) -> Matrix<F> {
    let pitch = comptime!(shape.pitch());
    let at = if comptime!(shape.terms) {
        first + comptime!(term * pitch) + outer / VECTOR
    } else {
        first + outer * pitch + comptime!(term / VECTOR)
    };
    // SAFETY: it is loaded at once.
    let mut matrix =
        unsafe { Matrix::<F>::uninitialized(ident, FRAGMENT, FRAGMENT, FRAGMENT, layout) };
    cmma::load(
        &mut matrix,
        &stage[at..],
        comptime!((pitch * VECTOR) as u32),
    );
    matrix
}
