//! What is visible in a tile of queries times keys.

use std::ops::Range;

use burn::backend::Flex;
use burn_flex::FlexTensor;

use super::super::extension::{AttentionOptions, KeySegments};

/// Which keys the queries of a batch see.
#[derive(Debug)]
pub(super) struct Mask {
    first_query: usize,
    window: usize,
    /// Segment numbers of [`KeySegments::Numbered`], `[batch, keys]`.
    segments: Option<Vec<i64>>,
    keys: usize,
}

/// How much of a tile is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tile {
    Hidden,
    Visible,
    /// What to add to each score is written: 0, or minus infinity where it is hidden.
    Mixed,
}

impl Mask {
    pub(super) fn new(
        segments: &KeySegments<Flex>,
        options: &AttentionOptions,
        keys: usize,
    ) -> Self {
        Self {
            first_query: options.first_query,
            window: options.window.unwrap_or(usize::MAX),
            segments: match segments {
                KeySegments::One => None,
                KeySegments::Numbered { numbers } => Some(integers(numbers.clone())),
            },
            keys,
        }
    }

    /// The only keys that any of the queries may see.
    pub(super) fn keys(&self, queries: &Range<usize>) -> Range<usize> {
        self.band(queries.start).start..self.band(queries.end - 1).end
    }

    /// Judges a tile of the sequence `batch` and, where it is mixed, fills `out`
    /// `[queries, keys]`.
    pub(super) fn tile(
        &self,
        batch: usize,
        queries: &Range<usize>,
        keys: &Range<usize>,
        out: &mut Vec<f32>,
    ) -> Tile {
        let segments = self
            .segments
            .as_ref()
            .map(|all| &all[batch * self.keys..][..self.keys]);
        let in_segments = segments.map_or(Tile::Visible, |all| {
            let queries = self.position(queries.start)..self.position(queries.end);
            compare(&all[queries], &all[keys.clone()])
        });
        let (first, last) = (self.band(queries.start), self.band(queries.end - 1));
        let in_band = first.end >= keys.end && last.start <= keys.start;
        match in_segments {
            Tile::Visible if in_band => return Tile::Visible,
            Tile::Hidden => return Tile::Hidden,
            _ => {}
        }
        out.clear();
        for query in queries.clone() {
            let band = self.band(query);
            let own = segments.map(|all| document(all[self.position(query)]));
            out.extend(keys.clone().map(|key| {
                let same = segments.is_none_or(|all| own == Some(all[key]));
                if same && band.contains(&key) {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            }));
        }
        Tile::Mixed
    }

    fn position(&self, query: usize) -> usize {
        self.first_query + query
    }

    /// The keys that are neither behind a query nor outside of its window.
    fn band(&self, query: usize) -> Range<usize> {
        let end = self.position(query) + 1;
        end.saturating_sub(self.window)..end
    }
}

/// Integers of any type.
fn integers(tensor: FlexTensor) -> Vec<i64> {
    match tensor.into_data().try_into_vec_as() {
        Ok(values) => values,
        Err(error) => panic!("attention: {error}"),
    }
}

/// The document a key belongs to, padded or not.
fn document(segment: i64) -> i64 {
    if segment < 0 { -1 - segment } else { segment }
}

/// Judges a tile by the numbers of its queries and keys, without looking at pairs.
fn compare(queries: &[i64], keys: &[i64]) -> Tile {
    let bounds = |numbers: &mut dyn Iterator<Item = i64>| {
        numbers.fold((i64::MAX, i64::MIN), |(low, high), number| {
            (low.min(number), high.max(number))
        })
    };
    let (low, high) = bounds(&mut queries.iter().map(|number| document(*number)));
    let (key_low, key_high) = bounds(&mut keys.iter().copied());
    if key_low > high || key_high < low {
        Tile::Hidden
    } else if low == high && key_low == key_high {
        Tile::Visible
    } else {
        Tile::Mixed
    }
}
