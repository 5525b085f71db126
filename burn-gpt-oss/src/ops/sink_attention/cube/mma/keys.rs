//! Keys as the rows of a plane, rows of queries as the other side.

use cubecl::prelude::*;

use super::super::geometry::{Geometry, KeyRow};
use super::fragments::Wide;
use super::sight::{Sight, pair_of, range};
use super::{BAND, MmaSplit};

/// A key; what sees it counts rows, not queries.
#[cube]
pub(super) fn key_rows(
    segments: &[i32],
    key: usize,
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) -> KeyRow {
    let row = geometry.key(segments, key, split.segmented);
    KeyRow {
        index: row.index,
        start: row.start * geometry.group,
        end: row.end * geometry.group,
        segment: row.segment,
    }
}

#[cube]
pub(super) fn plane_sight(
    segments: &[i32],
    plane_start: usize,
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) -> Sight {
    let end = min(plane_start + BAND, geometry.keys);
    let first = key_rows(
        segments,
        min(plane_start, geometry.keys - 1),
        geometry,
        split,
    );
    let last = key_rows(segments, end - 1, geometry, split);
    let own = min(plane_start + UNIT_POS as usize % BAND, end - 1);
    let segment = geometry.segment(segments, own, split.segmented);
    let of_plane = range(pair_of(segment, segment), split);
    Sight {
        start: first.start,
        end: first.end,
        last_start: last.start,
        last_end: last.end,
        low: of_plane.extract(0usize),
        high: of_plane.extract(1usize),
    }
}

/// Makes scores minus infinity where a query does not see a key. A result of two keys and the rows of
/// queries `place` and the next.
#[cube]
pub(super) fn hide(
    scores: &mut Array<Wide>,
    low: &KeyRow,
    high: &KeyRow,
    segments: &[i32],
    place: usize,
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) {
    let mut of_low = scores[0];
    let mut of_high = scores[1];
    let last = geometry.len * geometry.group - 1;
    #[unroll]
    for i in 0..2usize {
        let row = place + i;
        let query = min(row, last) / geometry.group;
        let document = geometry.document(segments, query, split.segmented);
        let sees_low = seen(low, row, document);
        let sees_high = seen(high, row, document);
        of_low.insert(i, select(sees_low, of_low.extract(i), f32::NEG_INFINITY));
        of_high.insert(i, select(sees_high, of_high.extract(i), f32::NEG_INFINITY));
    }
    scores[0] = of_low;
    scores[1] = of_high;
}

#[cube]
fn seen(key: &KeyRow, row: usize, document: i32) -> bool {
    row >= key.start && row < key.end && document == key.segment
}
