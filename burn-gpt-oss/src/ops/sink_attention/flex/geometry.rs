//! Sizes, and how the work is cut.

use std::ops::Range;

use burn::backend::Flex;

use super::super::extension::AttentionInputs;

/// Rows of a tile of queries, all heads of a group counted, and keys of a tile of keys. Scores, rows,
/// keys and values of one step then stay within a second-level cache of 256 KiB.
const TILE_ROWS: usize = 128;
const TILE_KEYS: usize = 64;

#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) len: usize,
    pub(super) keys: usize,
    pub(super) kv_heads: usize,
    /// Query heads per key head.
    pub(super) group: usize,
    pub(super) dim: usize,
}

impl Geometry {
    pub(super) fn of(inputs: &AttentionInputs<Flex>) -> Self {
        let [batch, len, heads, dim] = inputs.query.layout().shape().dims();
        let [_, keys, kv_heads, _] = inputs.key.layout().shape().dims();
        Self {
            batch,
            len,
            keys,
            kv_heads,
            group: heads / kv_heads,
            dim,
        }
    }

    pub(super) fn heads(&self) -> usize {
        self.kv_heads * self.group
    }

    /// Queries per tile.
    pub(super) fn tile(&self) -> usize {
        (TILE_ROWS / self.group).max(1)
    }

    /// The tiles of all queries, the last one shorter where they do not divide the length.
    pub(super) fn query_tiles(&self) -> impl Iterator<Item = Range<usize>> {
        cut(0..self.len, self.tile())
    }
}

/// Consecutive tiles of keys.
pub(super) fn key_tiles(keys: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    cut(keys, TILE_KEYS)
}

fn cut(range: Range<usize>, tile: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range
        .step_by(tile)
        .map(move |start| start..end.min(start + tile))
}
