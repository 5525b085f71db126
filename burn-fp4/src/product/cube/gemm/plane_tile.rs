//! The tiles of cubes with tensor cores.

use super::geometry::GemmKind;
use super::stage::{StageShape, VECTOR};

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
