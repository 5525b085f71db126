//! Products on tensor cores, with operands of 16 bits and sums in `f32`.

use cubecl::cmma::{self, Matrix, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;

use super::element::global_factor;
use super::epilogue::write_part;
use super::geometry::{GemmKind, GemmShape, part};
use super::packed::{CODES_PER_WORD, PackedFormat};
use super::stage::{
    DEPTH, Loaded, Source, StageShape, Storing, VECTOR, Words, find_rows, load, load_packed, store,
};

/// Rows, columns and terms of a matrix instruction.
pub(crate) const FRAGMENT: usize = 16;
/// Units of a plane.
pub(crate) const PLANE: usize = 32;

/// The division of a cube's tile of the output among its planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PlaneTile {
    /// Planes along rows and along columns.
    pub planes: (usize, usize),
    /// Fragments along rows and along columns that a plane has.
    pub fragments: (usize, usize),
}

impl PlaneTile {
    pub const fn height(self) -> usize {
        self.planes.0 * self.fragments.0 * FRAGMENT
    }

    pub const fn width(self) -> usize {
        self.planes.1 * self.fragments.1 * FRAGMENT
    }

    pub const fn n_planes(self) -> usize {
        self.planes.0 * self.planes.1
    }

    pub const fn n_units(self) -> usize {
        self.n_planes() * PLANE
    }

    pub const fn lhs(self, kind: GemmKind) -> StageShape {
        StageShape::new(
            self.height(),
            !kind.lhs_rows,
            kind.lhs_top_k,
            self.n_units(),
        )
    }

    pub const fn rhs(self, kind: GemmKind) -> StageShape {
        StageShape::new(self.width(), kind.rhs_terms, kind.rhs_top_k, self.n_units())
    }

    /// Bytes of shared memory.
    pub const fn shared_bytes(self, kind: GemmKind) -> usize {
        let stages = 2 * 2 * VECTOR * (self.lhs(kind).size() + self.rhs(kind).size());
        let strips = 4 * self.n_planes() * FRAGMENT * self.strip_pitch();
        stages + strips
    }

    /// Elements from one row to the next in the memory by which results leave the fragments.
    pub const fn strip_pitch(self) -> usize {
        self.fragments.1 * FRAGMENT + 4
    }
}

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
    #[comptime] format: Option<PackedFormat>,
    #[define(F)] _input: ElemType,
    #[define(O)] _output: ElemType,
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
        let mut next = Next {
            lhs: Loaded::new(lhs_shape),
            rhs: Loaded::new(rhs_shape),
            factors: Array::new(comptime!(rhs_shape.loads())),
        };
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

/// What is not yet in shared memory.
#[derive(CubeType)]
struct Next {
    lhs: Loaded,
    rhs: Loaded,
    /// Scores of the rows of the right factor.
    factors: Array<f32>,
}

/// Begins to load the left factor for a step, and finds the rows of the step behind it.
#[cube]
fn load_lhs(
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
fn load_rhs<F: Float>(
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
    #[comptime] format: Option<PackedFormat>,
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
fn put<F: Float>(
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

/// Adds the products of the terms in shared memory.
#[cube]
fn multiply<F: Float>(
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
