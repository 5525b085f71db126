//! Rows of elements.

use cubecl::prelude::*;

use super::super::geometry::{Four, Geometry};
use super::RowSplit;

/// Rows of a tensor, or of a tile of it in shared memory.
pub(super) type Elements<F> = Vector<F, Const<4>>;

/// Row `row` of `from`, multiplied by `factor`, in registers.
#[cube]
pub(super) fn load<F: Float>(
    from: &[Elements<F>],
    row: usize,
    factor: f32,
    #[comptime] vectors: usize,
) -> Array<Four> {
    let mut to = Array::<Four>::new(vectors);
    #[unroll]
    for i in 0..vectors {
        to[i] = Four::cast_from(from[row * vectors + i]) * Four::new(factor);
    }
    to
}

#[cube]
pub(super) fn zeros(#[comptime] vectors: usize) -> Array<Four> {
    let mut to = Array::<Four>::new(vectors);
    #[unroll]
    for i in 0..vectors {
        to[i] = Four::new(0.0f32);
    }
    to
}

/// The product of a row in registers and row `row` of `b`.
#[cube]
pub(super) fn dot<F: Float>(
    a: &Array<Four>,
    b: &[Elements<F>],
    row: usize,
    #[comptime] vectors: usize,
) -> f32 {
    let mut sum = Four::new(0.0f32);
    #[unroll]
    for i in 0..vectors {
        sum = fma(a[i], Four::cast_from(b[row * vectors + i]), sum);
    }
    sum.extract(0usize) + sum.extract(1usize) + (sum.extract(2usize) + sum.extract(3usize))
}

/// Adds row `row` of `from`, multiplied by `factor`.
#[cube]
pub(super) fn add<F: Float>(
    to: &mut Array<Four>,
    factor: f32,
    from: &[Elements<F>],
    row: usize,
    #[comptime] vectors: usize,
) {
    #[unroll]
    for i in 0..vectors {
        to[i] = fma(
            Four::new(factor),
            Four::cast_from(from[row * vectors + i]),
            to[i],
        );
    }
}

/// Writes a row, multiplied by `factor`.
#[cube]
pub(super) fn store<F: Float>(
    to: &mut [Elements<F>],
    row: usize,
    from: &Array<Four>,
    factor: f32,
    #[comptime] vectors: usize,
) {
    #[unroll]
    for i in 0..vectors {
        to[row * vectors + i] = Elements::<F>::cast_from(from[i] * Four::new(factor));
    }
}

/// A tile of the keys of a key head into shared memory, the last one again behind `end`.
#[cube]
pub(super) fn share_keys<F: Float>(
    from: &[Elements<F>],
    to: &mut [Elements<F>],
    start: usize,
    end: usize,
    geometry: &Geometry,
    #[comptime] split: RowSplit,
) {
    let count = comptime!(split.tile * split.vectors);
    for i in range_stepped(UNIT_POS as usize, count, split.units) {
        let key = geometry.key_index(min(start + i / split.vectors, end - 1));
        to[i] = from[key * split.vectors + i % split.vectors];
    }
}

/// A tile of the rows of the queries of a key head into shared memory, the last one again behind `end`.
#[cube]
pub(super) fn share_queries<F: Float>(
    from: &[Elements<F>],
    to: &mut [Elements<F>],
    start: usize,
    end: usize,
    geometry: &Geometry,
    #[comptime] split: RowSplit,
) {
    let count = comptime!(split.tile * split.vectors);
    for i in range_stepped(UNIT_POS as usize, count, split.units) {
        let row = geometry.query_index(min(start + i / split.vectors, end - 1));
        to[i] = from[row * split.vectors + i % split.vectors];
    }
}
