//! Attention on tensor cores, for 16-bit floats and `head_dim` 64 (FlashAttention-2, Dao 2023).
//!
//! A plane has bands of 16 rows; products of 16 x 8 x 16 stay in its registers, where weights are
//! again the operand of the next product. The rows of the other side are in shared memory by tiles,
//! of which the next is on its way while planes work on the current one.

mod forward;
mod fragments;
mod key_gradient;
mod keys;
mod queries;
mod query_gradient;
mod sight;
mod softmax;
mod tile;

pub(super) use forward::attend_mma;
pub(super) use key_gradient::key_gradient_mma;
pub(super) use query_gradient::query_gradient_mma;

/// `head_dim`.
pub(super) const DIM: usize = 64;
/// Rows of a band.
pub(super) const BAND: usize = 16;
/// Units of a plane.
pub(super) const PLANE: usize = 32;

/// How a kernel is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct MmaSplit {
    /// Planes of a cube.
    pub planes: usize,
    /// Bands of a plane.
    pub bands: usize,
    /// Query heads per key head, a constant because it is divided by.
    pub group: usize,
    /// Rows of the other side in shared memory at a time, 32 or 64.
    pub tile: usize,
    /// Whether there are numbers of documents.
    pub segmented: bool,
}

impl MmaSplit {
    pub const fn units(self) -> usize {
        self.planes * PLANE
    }

    /// Rows of a plane.
    pub const fn plane_rows(self) -> usize {
        self.bands * BAND
    }

    /// Results of 16 x 8 in the scores of a band and a tile.
    pub const fn scores(self) -> usize {
        self.tile / 8
    }

    /// Rows of a cube.
    pub const fn rows(self) -> usize {
        self.planes * self.plane_rows()
    }
}
