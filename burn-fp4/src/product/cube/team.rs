//! Units that share a row.
// Kernel functions expand to modules of their names, without their documentation.
#![allow(missing_docs)]

use cubecl::prelude::*;

use super::Hardware;

/// What units without planes reduce to before all of them read it.
const GROUPS: usize = 16;

/// How many units share a row, and how they exchange values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Team {
    /// All units of a cube, or one alone.
    pub units: usize,
    /// Units of a plane; 1 for an exchange by shared memory alone.
    plane: usize,
}

impl Team {
    /// A unit that has a row to itself.
    pub const ALONE: Self = Self { units: 1, plane: 1 };

    /// A team for a row of so many shares; one unit where units have no memory in common.
    pub fn new(hardware: &Hardware, shares: usize, most: usize) -> Self {
        if !hardware.shared_memory {
            return Self::ALONE;
        }
        let step = hardware.plane.max(GROUPS);
        let most = most.min(hardware.max_units) / step * step;
        Self {
            units: shares.next_multiple_of(step).min(most),
            plane: hardware.plane,
        }
    }

    /// A team on an NVIDIA GPU.
    pub const fn of_planes(units: usize) -> Self {
        Self { units, plane: 32 }
    }

    /// Units of a cube if each row has a team.
    pub fn cube_units(self) -> u32 {
        match self {
            Self::ALONE => 64,
            _ => self.units as u32,
        }
    }

    /// Cubes for so many rows.
    pub fn n_cubes(self, n_rows: usize) -> usize {
        match self {
            Self::ALONE => n_rows.div_ceil(self.cube_units() as usize),
            _ => n_rows,
        }
    }
}

/// The row of this unit; there may be none.
#[cube]
pub fn team_row(#[comptime] team: Team) -> usize {
    if comptime!(team.units == 1) {
        ABSOLUTE_POS
    } else {
        CUBE_POS
    }
}

/// The number of this unit in its team.
#[cube]
pub fn team_rank(#[comptime] team: Team) -> usize {
    if comptime!(team.units == 1) {
        0usize.runtime()
    } else {
        UNIT_POS as usize
    }
}

/// How two values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reduction {
    Sum,
    Max,
}

/// The sum over a team, for all its units, in an order that does not change.
#[cube]
pub fn team_sum(value: f32, #[comptime] team: Team) -> f32 {
    reduce(value, team, comptime!(Reduction::Sum))
}

/// The largest value of a team, for all its units.
#[cube]
pub fn team_max(value: f32, #[comptime] team: Team) -> f32 {
    reduce(value, team, comptime!(Reduction::Max))
}

#[cube]
fn reduce(value: f32, #[comptime] team: Team, #[comptime] reduction: Reduction) -> f32 {
    if comptime!(team.units == 1) {
        value
    } else if comptime!(team.plane > 1) {
        reduce_planes(value, team, reduction)
    } else {
        reduce_groups(value, team, reduction)
    }
}

#[cube]
fn combine(a: f32, b: f32, #[comptime] reduction: Reduction) -> f32 {
    if comptime!(reduction == Reduction::Sum) {
        a + b
    } else {
        max(a, b)
    }
}

#[cube]
fn reduce_planes(value: f32, #[comptime] team: Team, #[comptime] reduction: Reduction) -> f32 {
    let of_plane = if comptime!(reduction == Reduction::Sum) {
        plane_sum(value)
    } else {
        plane_max(value)
    };
    let n_planes = comptime!(team.units / team.plane);
    let mut planes = Shared::<[f32]>::new_slice(n_planes);
    // What was there before may still be read.
    sync_cube();
    if UNIT_POS_PLANE == 0u32 {
        planes[UNIT_POS as usize / comptime!(team.plane)] = of_plane;
    }
    sync_cube();
    let mut total = planes[0];
    for i in 1..n_planes {
        total = combine(total, planes[i], reduction);
    }
    total
}

#[cube]
fn reduce_groups(value: f32, #[comptime] team: Team, #[comptime] reduction: Reduction) -> f32 {
    let mut values = Shared::<[f32]>::new_slice(comptime!(team.units));
    let mut groups = Shared::<[f32]>::new_slice(GROUPS);
    // What was there before may still be read.
    sync_cube();
    let unit = UNIT_POS as usize;
    values[unit] = value;
    sync_cube();
    if unit < GROUPS {
        let mut total = values[unit];
        for i in 1..comptime!(team.units / GROUPS) {
            total = combine(total, values[i * GROUPS + unit], reduction);
        }
        groups[unit] = total;
    }
    sync_cube();
    let mut total = groups[0];
    for i in 1..GROUPS {
        total = combine(total, groups[i], reduction);
    }
    total
}
