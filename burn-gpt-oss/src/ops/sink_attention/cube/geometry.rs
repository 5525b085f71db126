//! Sizes, and which keys a query sees.

use cubecl::prelude::*;

/// Four neighbours of a row.
pub(super) type Four = Vector<f32, Const<4>>;

/// Sizes of tensors `[batch, len, kv_heads * group, head_dim]` and
/// `[batch, keys, kv_heads, head_dim]`, and what decides about scores.
///
/// `CUBE_POS_Y` counts key heads and `CUBE_POS_Z` the batch. The queries of a key head are rows: all
/// heads of the group of one query, then those of the next.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Geometry {
    pub len: usize,
    pub keys: usize,
    pub kv_heads: usize,
    /// Query heads per key head.
    pub group: usize,
    /// Position of the first query among the keys.
    pub first_query: usize,
    /// Keys that a query sees at most.
    pub window: usize,
    /// Factor on products of queries and keys.
    pub scale: f32,
}

/// A query of one head.
#[derive(CubeType, Clone, Copy)]
pub(super) struct QueryRow {
    /// Among the rows of all tensors `[batch, len, heads, ..]`.
    pub index: usize,
    pub head: usize,
    /// The only keys that it may see.
    pub start: usize,
    pub end: usize,
    pub document: i32,
}

/// A key, and the only queries that may see it.
#[derive(CubeType, Clone, Copy)]
pub(super) struct KeyRow {
    /// Among the rows of all tensors `[batch, keys, kv_heads, ..]`.
    pub index: usize,
    pub start: usize,
    pub end: usize,
    pub segment: i32,
}

/// The document of a key, padded or not.
#[cube]
pub(super) fn document(segment: i32) -> i32 {
    select(segment < 0i32, -1i32 - segment, segment)
}

#[cube]
impl Geometry {
    /// The same with a constant number of heads, by which is divided.
    pub fn of_group(&self, #[comptime] group: usize) -> Geometry {
        Geometry {
            len: self.len,
            keys: self.keys,
            kv_heads: self.kv_heads,
            group: group.runtime(),
            first_query: self.first_query,
            window: self.window,
            scale: self.scale,
        }
    }

    /// The query of a row of the key head of this cube.
    pub fn query(&self, segments: &[i32], row: usize, #[comptime] segmented: bool) -> QueryRow {
        let query = row / self.group;
        let head = CUBE_POS_Y as usize * self.group + row % self.group;
        let end = self.first_query + query + 1;
        QueryRow {
            index: self.query_index(row),
            head,
            start: end - min(end, self.window),
            end,
            document: self.document(segments, query, segmented),
        }
    }

    /// The place of a row of the key head of this cube among all rows.
    pub fn query_index(&self, row: usize) -> usize {
        let head = CUBE_POS_Y as usize * self.group + row % self.group;
        let query = CUBE_POS_Z as usize * self.len + row / self.group;
        query * self.kv_heads * self.group + head
    }

    /// The document at the position of a query.
    pub fn document(&self, segments: &[i32], query: usize, #[comptime] segmented: bool) -> i32 {
        if comptime!(segmented) {
            let place = CUBE_POS_Z as usize * self.keys + self.first_query + query;
            document(segments[place])
        } else {
            0i32.runtime()
        }
    }

    /// A key of the key head of this cube.
    pub fn key(&self, segments: &[i32], key: usize, #[comptime] segmented: bool) -> KeyRow {
        // Queries at positions from the key's own on, as many as its window has.
        let start = max(key, self.first_query) - self.first_query;
        let end = max(key + self.window, self.first_query) - self.first_query;
        KeyRow {
            index: self.key_index(key),
            start,
            end: min(end, self.len),
            segment: self.segment(segments, key, segmented),
        }
    }

    /// The place of a key of the key head of this cube among all keys.
    pub fn key_index(&self, key: usize) -> usize {
        (CUBE_POS_Z as usize * self.keys + key) * self.kv_heads + CUBE_POS_Y as usize
    }

    pub fn segment(&self, segments: &[i32], key: usize, #[comptime] segmented: bool) -> i32 {
        if comptime!(segmented) {
            segments[CUBE_POS_Z as usize * self.keys + key]
        } else {
            0i32.runtime()
        }
    }
}
