//! Operands and results of products on tensor cores (PTX ISA, `mma.m16n8k16`).
//!
//! Unit `4 * g + t` of a plane has rows `g` and `g + 8` of the left operand and of the result, there
//! columns `2 * t` and `2 * t + 1` of every eight, and column `g` of the right operand.

use cubecl::cmma::{MatrixIdent, MmaDefinition};
use cubecl::prelude::*;

use super::tile::{PITCH, Rows};
use super::{DIM, PLANE};

/// Two neighbours in a row.
pub(super) type Pair<F> = Vector<F, Const<2>>;

/// Two neighbours of a result.
pub(super) type Wide = Vector<f32, Const<2>>;

/// Pairs of a row of a tensor.
pub(super) const PAIRS: usize = DIM / 2;
/// Products along a row.
pub(super) const STEPS: usize = DIM / 16;

/// Which part of a right operand the rows of a tile are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Along {
    /// Its columns: elements of a row are summed over.
    Row,
    /// Its rows: rows are summed over.
    Column,
}

/// Two right operands, 16 x 8 each, side by side.
#[derive(CubeType)]
pub(super) struct RightPair<F: Float> {
    pub left: Array<Pair<F>>,
    pub right: Array<Pair<F>>,
}

/// `g`: what this unit has of a band besides row `g + 8`.
#[cube]
pub(super) fn unit_row() -> usize {
    (UNIT_POS as usize % PLANE) / 4
}

/// `t`
#[cube]
pub(super) fn unit_column() -> usize {
    UNIT_POS as usize % 4
}

/// Rows `low` and `high` of a tensor as left operands, one for every 16 elements.
#[cube]
pub(super) fn row_operands<F: Float>(
    from: &[Pair<F>],
    low: usize,
    high: usize,
) -> Sequence<Array<Pair<F>>> {
    let mut operands = Sequence::<Array<Pair<F>>>::new();
    let (low, high) = (low * PAIRS + unit_column(), high * PAIRS + unit_column());
    #[unroll]
    for step in 0..STEPS {
        let mut operand = Array::<Pair<F>>::new(4usize);
        operand[0] = from[low + 8 * step];
        operand[1] = from[high + 8 * step];
        operand[2] = from[low + 8 * step + 4];
        operand[3] = from[high + 8 * step + 4];
        operands.push(operand);
    }
    operands
}

/// Two results side by side, 16 x 8 each, as a left operand.
#[cube]
pub(super) fn result_operand<F: Float>(left: &Array<Wide>, right: &Array<Wide>) -> Array<Pair<F>> {
    let mut operand = Array::<Pair<F>>::new(4usize);
    operand[0] = Pair::<F>::cast_from(left[0]);
    operand[1] = Pair::<F>::cast_from(left[1]);
    operand[2] = Pair::<F>::cast_from(right[0]);
    operand[3] = Pair::<F>::cast_from(right[1]);
    operand
}

/// The square of 16 rows of a tile, from `row` on, and 16 elements, from `column` on.
#[cube]
pub(super) fn square<F: Float>(
    tile: &Shared<[Rows<F>]>,
    row: usize,
    #[comptime] column: usize,
    #[comptime] along: Along,
) -> RightPair<F> {
    let lane = UNIT_POS as usize % PLANE;
    // Every unit has the address of a row of eight elements, eight units those of a square of 8 x 8.
    let (second, third) = (lane / 8 % 2, lane / 16);
    let (down, aside) = match along {
        Along::Row => (third, second),
        Along::Column => (second, third),
    };
    let at = (row + 8 * down + lane % 8) * PITCH + comptime!(column / 8) + aside;
    let definition = MmaDefinition::<F, F, f32>::new(16usize, 8usize, 16usize);
    let registers = definition.load_matrix::<Rows<F>, Const<2>>(
        &tile[at..at + 1],
        MatrixIdent::B,
        4usize,
        comptime!(along == Along::Column),
    );
    let mut left = Array::<Pair<F>>::new(2usize);
    let mut right = Array::<Pair<F>>::new(2usize);
    left[0] = registers[0];
    left[1] = registers[1];
    right[0] = registers[2];
    right[1] = registers[3];
    RightPair::<F> { left, right }
}

/// A right operand of ones: every column of the product has the sums of the rows of the left one.
#[cube]
pub(super) fn ones<F: Float>() -> Array<Pair<F>> {
    let mut operand = Array::<Pair<F>>::new(2usize);
    operand[0] = Pair::<F>::new(F::new(1.0f32));
    operand[1] = Pair::<F>::new(F::new(1.0f32));
    operand
}

/// Adds a product to a result.
#[cube]
pub(super) fn multiply<F: Float>(
    result: &mut Array<Wide>,
    left: &Array<Pair<F>>,
    right: &Array<Pair<F>>,
) {
    let definition = MmaDefinition::<F, F, f32>::new(16usize, 8usize, 16usize);
    definition.execute_inplace(left, right, result);
}

/// Results of zeros.
#[cube]
pub(super) fn results(#[comptime] count: usize) -> Sequence<Array<Wide>> {
    let mut results = Sequence::<Array<Wide>>::new();
    #[unroll]
    for _ in 0..count {
        let mut result = Array::<Wide>::new(2usize);
        result[0] = Wide::new(0.0f32);
        result[1] = Wide::new(0.0f32);
        results.push(result);
    }
    results
}

/// Adds to `results` the products of whole rows: a band with 16 rows of a tile, from `row` on. Two
/// results from `first` on belong to them.
#[cube]
pub(super) fn add_scores<F: Float>(
    results: &mut Sequence<Array<Wide>>,
    #[comptime] first: usize,
    band: &Sequence<Array<Pair<F>>>,
    tile: &Shared<[Rows<F>]>,
    row: usize,
) {
    #[unroll]
    for step in 0..STEPS {
        let right = square::<F>(tile, row, comptime!(16 * step), Along::Row);
        multiply::<F>(results.index_mut(first), band.index(step), &right.left);
        multiply::<F>(
            results.index_mut(comptime!(first + 1)),
            band.index(step),
            &right.right,
        );
    }
}

/// Adds to `results`, a row of results per band of `lefts`, the products of these with 16 rows of a
/// tile, from `row` on.
#[cube]
pub(super) fn add_rows<F: Float>(
    results: &mut Sequence<Array<Wide>>,
    lefts: &Sequence<Array<Pair<F>>>,
    tile: &Shared<[Rows<F>]>,
    row: usize,
    #[comptime] bands: usize,
) {
    #[unroll]
    for step in 0..STEPS {
        let right = square::<F>(tile, row, comptime!(16 * step), Along::Column);
        #[unroll]
        for band in 0..bands {
            let at = comptime!((band * STEPS + step) * 2);
            multiply::<F>(results.index_mut(at), lefts.index(band), &right.left);
            multiply::<F>(
                results.index_mut(comptime!(at + 1)),
                lefts.index(band),
                &right.right,
            );
        }
    }
}

/// Writes half of the results of a band, multiplied by a factor, to a row of a tensor.
#[cube]
pub(super) fn store_band<F: Float>(
    to: &mut [Pair<F>],
    results: &Sequence<Array<Wide>>,
    #[comptime] band: usize,
    #[comptime] half: usize,
    row: usize,
    factor: f32,
) {
    let first = row * PAIRS + unit_column();
    #[unroll]
    for i in 0..comptime!(2 * STEPS) {
        let result = results.index(comptime!(band * 2 * STEPS + i));
        to[first + 4 * i] = Pair::<F>::cast_from(result[half] * Wide::new(factor));
    }
}
