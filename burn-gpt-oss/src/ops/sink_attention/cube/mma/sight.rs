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

/// How much of a tile is visible.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Seen {
    pub any: bool,
    pub all: bool,
}

#[cube]
impl Sight {
    /// The tile from place `tile` on, whose segments, or documents, are between `low` and `high`.
    pub fn judge(&self, tile: usize, low: i32, high: i32, #[comptime] split: MmaSplit) -> Seen {
        let any = tile + split.tile > self.start && tile < self.last_end;
        let all = tile >= self.last_start && tile + split.tile <= self.end;
        if comptime!(split.segmented) {
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

/// Smallest and largest of a number of every unit of a plane.
#[cube]
pub(super) fn range(a: i32, b: i32) -> (i32, i32) {
    (plane_min(min(a, b)), plane_max(max(a, b)))
}

/// Range of the segments of a tile of at most 64 keys, and maybe of some behind it; the last key again
/// behind `end`.
#[cube]
pub(super) fn segment_range(
    segments: &[i32],
    tile: usize,
    end: usize,
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) -> (i32, i32) {
    if comptime!(split.segmented) {
        let lane = UNIT_POS as usize % PLANE;
        let first = geometry.segment(segments, min(tile + lane, end - 1), true);
        let second = geometry.segment(segments, min(tile + lane + PLANE, end - 1), true);
        range(first, second)
    } else {
        (0i32.runtime(), 0i32.runtime())
    }
}

/// Range of the documents of a tile of at most 64 rows, and maybe of some behind it; the last row again
/// behind `end`.
#[cube]
pub(super) fn document_range(
    segments: &[i32],
    tile: usize,
    end: usize,
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) -> (i32, i32) {
    if comptime!(split.segmented) {
        let lane = UNIT_POS as usize % PLANE;
        let group = geometry.group;
        let first = min(tile + lane, end - 1) / group;
        let second = min(tile + lane + PLANE, end - 1) / group;
        range(
            geometry.document(segments, first, true),
            geometry.document(segments, second, true),
        )
    } else {
        (0i32.runtime(), 0i32.runtime())
    }
}
