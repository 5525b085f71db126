//! Rows of tensors `[batch, positions, heads, width]`, read and written per head.

use std::ops::Range;

use burn_fp4::backend::flex::FloatElement;

/// One key head, or one group of query heads, of one sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) batch: usize,
    pub(super) index: usize,
}

/// A tensor `[batch, positions, heads, width]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a, T> {
    values: &'a [T],
    /// `[positions, heads, width]`
    dims: [usize; 3],
}

impl<'a, T: FloatElement> Rows<'a, T> {
    pub(super) fn new(values: &'a [T], dims: [usize; 3]) -> Self {
        Self { values, dims }
    }

    /// The rows of one head, multiplied by `factor`, one behind the other in `out`.
    pub(super) fn load(
        &self,
        head: Head,
        positions: Range<usize>,
        factor: f32,
        out: &mut Vec<f32>,
    ) {
        out.clear();
        let mut space = Vec::new();
        for position in positions {
            let row = T::widen(self.row(head, position), &mut space);
            out.extend(row.iter().map(|x| x * factor));
        }
    }

    fn row(&self, head: Head, position: usize) -> &'a [T] {
        let [positions, heads, width] = self.dims;
        let row = (head.batch * positions + position) * heads + head.index;
        &self.values[row * width..][..width]
    }
}

/// The rows that one task writes: of one head, in the order of positions.
pub(super) type Share<'a, T> = Vec<&'a mut [T]>;

/// Deals the rows of a tensor `[batch, positions, heads, width]` out to tasks of `tile` positions, in
/// the order of `[batch, heads, tile]`.
pub(super) fn deal<T>(
    values: &mut [T],
    [positions, heads, width]: [usize; 3],
    tile: usize,
) -> Vec<Share<'_, T>> {
    let rows = values.len() / width;
    let batch = rows / (positions * heads);
    let tiles = positions.div_ceil(tile);
    let mut shares: Vec<Share<'_, T>> = Vec::new();
    shares.resize_with(batch * heads * tiles, || Vec::with_capacity(tile));
    for (row, values) in values.chunks_exact_mut(width).enumerate() {
        let (place, head) = (row / heads, row % heads);
        let (batch, position) = (place / positions, place % positions);
        shares[(batch * heads + head) * tiles + position / tile].push(values);
    }
    shares
}

/// Writes rows that lie one behind the other.
pub(super) fn store<T: FloatElement>(rows: &mut [&mut [T]], values: &[f32]) {
    let mut values = values;
    for row in rows {
        let (first, rest) = values.split_at(row.len());
        T::narrow(first, row);
        values = rest;
    }
}
