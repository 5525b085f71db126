//! Keys and values of tokens that a model has seen, so that further ones cost their own work alone.

mod join;
mod keys;
mod layer;

use burn::tensor::{Device, Int, Tensor, TensorData};

pub(crate) use layer::{Attended, LayerCache};

use crate::config::{GptOssConfig, LayerType};
use crate::ops::Visibility;
use crate::rope::{Rope, RopeTables};
use keys::Keys;

/// Keys and values of the tokens of a batch of sequences.
///
/// Shorter sequences are padded at the front, so that all end in the same column. No token attends to
/// padding, and position 0 is the first token after it. A sliding layer keeps the columns of one window in
/// a ring buffer. A full layer keeps all columns, in buffers that grow by doubling.
///
/// A clone shares its memory until either is written: that is how several continuations of one prompt
/// share its cost.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    columns: usize,
    padding: Vec<usize>,
}

impl KvCache {
    /// An empty cache. `padding` has one number per sequence: the columns of padding in front of its tokens.
    pub fn new(config: &GptOssConfig, padding: Vec<usize>) -> Self {
        let layer = |kind: &LayerType| {
            LayerCache::new(match kind {
                LayerType::SlidingAttention => Some(config.sliding_window),
                LayerType::FullAttention => None,
            })
        };
        Self {
            layers: config.layer_types.iter().map(layer).collect(),
            columns: 0,
            padding,
        }
    }

    /// Sequences.
    pub fn n_rows(&self) -> usize {
        self.padding.len()
    }

    /// Columns seen, padding included.
    pub fn n_columns(&self) -> usize {
        self.columns
    }

    /// Tokens seen of a sequence.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn n_tokens(&self, row: usize) -> usize {
        self.columns.saturating_sub(self.padding[row])
    }

    /// Memory of keys and values in bytes.
    pub fn n_bytes(&self) -> usize {
        self.layers.iter().map(LayerCache::n_bytes).sum()
    }

    /// Keeps the sequences with these numbers, in this order; a number may occur more than once.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn select_rows(&mut self, rows: &[usize], device: &Device) {
        let padding = rows.iter().map(|row| self.padding[*row]);
        self.padding = padding.collect();
        let numbers: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let data = TensorData::new(numbers, [rows.len()]);
        let numbers = Tensor::<1, Int>::from_data(data, device);
        for layer in &mut self.layers {
            layer.select(&numbers);
        }
    }

    /// The layers and what they need to know about a step of `len` columns; the step counts as seen.
    pub(crate) fn step(
        &mut self,
        len: usize,
        rope: &Rope,
        hidden: &Tensor<3>,
    ) -> (&mut [LayerCache], CachedStep<'_>) {
        let (dtype, device) = (hidden.dtype(), hidden.device());
        let columns = self.columns;
        let rope = match self.padding.iter().all(|padding| *padding == 0) {
            true => rope.tables(columns, len, dtype, &device),
            false => {
                let row = |padding: &usize| {
                    let padding = *padding;
                    (columns..columns + len).map(move |column| column.saturating_sub(padding))
                };
                let positions = self.padding.iter().flat_map(row);
                rope.tables_of(positions, [self.padding.len(), len], dtype, &device)
            }
        };
        self.columns += len;
        let step = CachedStep {
            rope,
            columns,
            padding: &self.padding,
            device,
            seen: Vec::new(),
        };
        (&mut self.layers, step)
    }
}

/// One step of all sequences, the same for all layers.
pub(crate) struct CachedStep<'a> {
    pub rope: RopeTables,
    /// Columns seen before.
    pub columns: usize,
    padding: &'a [usize],
    device: Device,
    /// Layers of one kind see the same.
    seen: Vec<(Keys, Visibility)>,
}

impl CachedStep<'_> {
    pub fn visibility(&mut self, attended: &Attended) -> Visibility {
        let known = self.seen.iter().find(|(keys, _)| *keys == attended.keys);
        if let Some((_, visibility)) = known {
            return visibility.clone();
        }
        let visibility = attended.keys.visibility(self.padding, &self.device);
        self.seen.push((attended.keys, visibility.clone()));
        visibility
    }
}
