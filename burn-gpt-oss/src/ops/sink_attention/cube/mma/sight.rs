//! Which part of a tile a plane sees.

use cubecl::prelude::*;

use super::super::geometry::Geometry;
use super::{MmaSplit, PLANE};

/// What the rows of a plane may see of the other side. Both ends grow from row to row.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Sight {
    /// Of the first row.
    pub start: usize,
    pub end: usize,
    /// Of the last row.
    pub last_start: usize,
    pub last_end: usize,
    /// Smallest and largest document, or segment.
    pub low: i32,
    pub high: i32,
}

/// Two numbers of a unit.
type Pair<T> = Vector<T, Const<2>>;

/// How much of a tile is visible.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Seen {
    pub any: bool,
    pub all: bool,
}

#[cube]
impl Sight {
    /// The tile from place `tile` on with this range of segments, or documents.
    pub fn judge(&self, tile: usize, range: Pair<i32>, #[comptime] split: MmaSplit) -> Seen {
        let any = tile + split.tile > self.start && tile < self.last_end;
        let all = tile >= self.last_start && tile + split.tile <= self.end;
        if comptime!(split.segmented) {
            let (low, high) = (range.extract(0usize), range.extract(1usize));
            let same = low == high && self.low == self.high && low == self.low;
            Seen {
                any: any && low <= self.high && high >= self.low,
                all: all && same,
            }
        } else {
            Seen { any, all }
        }
    }
}

/// Smallest and largest of the two numbers of every unit of a plane; all are zero without documents.
#[cube]
pub(super) fn range(pair: Pair<i32>, #[comptime] split: MmaSplit) -> Pair<i32> {
    if comptime!(split.segmented) {
        let (a, b) = (pair.extract(0usize), pair.extract(1usize));
        pair_of(plane_min(min(a, b)), plane_max(max(a, b)))
    } else {
        pair
    }
}

#[cube]
pub(super) fn pair_of(a: i32, b: i32) -> Pair<i32> {
    let mut pair = Pair::<i32>::empty();
    pair.insert(0usize, a);
    pair.insert(1usize, b);
    pair
}

/// The segments that units take of a tile of at most 64 keys, and maybe of some behind it; the last key
/// again behind `end`.
#[cube]
pub(super) fn segment_pair(
    segments: &[i32],
    tile: usize,
    end: usize,
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) -> Pair<i32> {
    let first = tile + UNIT_POS as usize % PLANE;
    pair_of(
        geometry.segment(segments, min(first, end - 1), split.segmented),
        geometry.segment(segments, min(first + PLANE, end - 1), split.segmented),
    )
}

/// The documents that units take of a tile of at most 64 rows, as [`segment_pair`].
#[cube]
pub(super) fn document_pair(
    segments: &[i32],
    tile: usize,
    end: usize,
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) -> Pair<i32> {
    let first = tile + UNIT_POS as usize % PLANE;
    let near = min(first, end - 1) / geometry.group;
    let far = min(first + PLANE, end - 1) / geometry.group;
    pair_of(
        geometry.document(segments, near, split.segmented),
        geometry.document(segments, far, split.segmented),
    )
}
