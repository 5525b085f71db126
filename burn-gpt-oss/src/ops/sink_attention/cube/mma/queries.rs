//! Queries as the rows of a plane, keys as the other side.

use cubecl::prelude::*;

use super::super::geometry::{Geometry, QueryRow};
use super::fragments::{Wide, unit_column, unit_row};
use super::sight::{Sight, pair_of, range};
use super::{BAND, MmaSplit, PLANE};

/// The two rows of a unit for every band, the last row again behind the end.
#[derive(CubeType)]
pub(super) struct UnitRows {
    pub rows: Sequence<QueryRow>,
    /// Whether they are rows at all.
    pub inside: Sequence<bool>,
}

#[cube]
fn from_behind(place: usize, count: usize) -> usize {
    count - 1 - place
}

#[cube]
fn plane_start(#[comptime] split: MmaSplit) -> usize {
    from_behind(CUBE_POS_X as usize, CUBE_COUNT_X as usize) * comptime!(split.rows())
        + UNIT_POS as usize / PLANE * comptime!(split.plane_rows())
}

/// The rows of a unit. Cubes begin with the last ones, which see most.
#[cube]
pub(super) fn unit_rows(
    segments: &[i32],
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) -> UnitRows {
    let count = geometry.len * geometry.group;
    let first = plane_start(split) + unit_row();
    let mut rows = Sequence::<QueryRow>::new();
    let mut inside = Sequence::<bool>::new();
    #[unroll]
    for i in 0..comptime!(2 * split.bands) {
        let row = first + comptime!(i * BAND / 2);
        rows.push(geometry.query(segments, min(row, count - 1), split.segmented));
        inside.push(row < count);
    }
    UnitRows { rows, inside }
}

/// The only keys that the rows of the cube may see.
#[cube]
pub(super) fn cube_keys(
    segments: &[i32],
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) -> (usize, usize) {
    let count = geometry.len * geometry.group;
    let cube = from_behind(CUBE_POS_X as usize, CUBE_COUNT_X as usize);
    let first = cube * comptime!(split.rows());
    let last = min(first + comptime!(split.rows()), count) - 1;
    (
        geometry.query(segments, first, false).start,
        geometry.query(segments, last, false).end,
    )
}

#[cube]
pub(super) fn plane_sight(
    segments: &[i32],
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) -> Sight {
    let count = geometry.len * geometry.group;
    let start = plane_start(split);
    let end = min(start + comptime!(split.plane_rows()), count);
    let first = geometry.query(segments, min(start, count - 1), false);
    let last = geometry.query(segments, end - 1, false);
    // At most as many rows as units.
    let own = min(start + UNIT_POS as usize % PLANE, end - 1);
    let document = geometry.document(segments, own / geometry.group, split.segmented);
    let documents = range(pair_of(document, document), split);
    Sight {
        start: first.start,
        end: first.end,
        last_start: last.start,
        last_end: last.end,
        low: documents.extract(0usize),
        high: documents.extract(1usize),
    }
}

/// Makes scores of hidden keys minus infinity. A result of two rows and the eight keys from `key` on.
#[cube]
pub(super) fn hide(
    scores: &mut Array<Wide>,
    low: &QueryRow,
    high: &QueryRow,
    segments: &[i32],
    key: usize,
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) {
    let mut of_low = scores[0];
    let mut of_high = scores[1];
    #[unroll]
    for i in 0..2usize {
        let place = key + 2 * unit_column() + i;
        let segment = geometry.segment(segments, min(place, geometry.keys - 1), split.segmented);
        let sees_low = visible(low, place, segment);
        let sees_high = visible(high, place, segment);
        of_low.insert(i, select(sees_low, of_low.extract(i), f32::NEG_INFINITY));
        of_high.insert(i, select(sees_high, of_high.extract(i), f32::NEG_INFINITY));
    }
    scores[0] = of_low;
    scores[1] = of_high;
}

#[cube]
fn visible(row: &QueryRow, place: usize, segment: i32) -> bool {
    place >= row.start && place < row.end && segment == row.document
}
