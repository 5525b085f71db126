//! Attention where a unit has a row: the loops over queries and keys, for every runtime.
//!
//! A unit keeps its rows of `head_dim` elements, and those that it computes, in registers. The rows of
//! the other side are the same for all units of a cube, which have them in shared memory by tiles
//! where that is worth it, and read them from where they are otherwise.

mod forward;
mod key_gradient;
mod query_gradient;
mod vectors;

pub(super) use forward::attend_rows;
pub(super) use key_gradient::{Side, key_gradient_rows};
pub(super) use query_gradient::query_gradient_rows;

/// How a kernel is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RowSplit {
    /// Vectors of four elements in a row.
    pub vectors: usize,
    /// Rows, and units, of a cube.
    pub units: usize,
    /// Rows of the other side in shared memory at a time; 0 for none.
    pub tile: usize,
    /// Whether there are numbers of documents.
    pub segmented: bool,
    /// Whether to use the exponential of the runtime.
    pub native: bool,
}
