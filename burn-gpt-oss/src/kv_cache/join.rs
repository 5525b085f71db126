//! Sequences that join others: the columns of both are moved so that all end in the same one.

use burn::tensor::{Device, Tensor};

use super::KvCache;
use super::layer::LayerCache;

impl KvCache {
    /// Adds the sequences of another cache behind those of this one. Shorter ones get padding in front.
    pub(crate) fn join(&mut self, mut other: Self) {
        if self.n_rows() == 0 {
            *self = other;
            return;
        }
        let columns = self.columns.max(other.columns);
        self.shift(columns);
        other.shift(columns);
        self.padding.extend(other.padding);
        for (layer, joining) in self.layers.iter_mut().zip(other.layers) {
            layer.join(joining);
        }
    }

    /// Keeps the sequences with these numbers, and gives up columns that only sequences before them had, if they are
    /// many.
    pub(crate) fn keep_rows(&mut self, rows: &[usize], device: &Device) {
        const WORTH_IT: usize = 256;
        if rows.is_empty() {
            self.padding.clear();
            return;
        }
        self.select_rows(rows, device);
        let surplus = self.padding.iter().copied().min().unwrap_or(0);
        if surplus < WORTH_IT {
            return;
        }
        self.columns -= surplus;
        self.padding
            .iter_mut()
            .for_each(|padding| *padding -= surplus);
        for layer in &mut self.layers {
            layer.drop_front(surplus, self.columns);
        }
    }

    /// Moves everything back so that the last column is this one.
    fn shift(&mut self, columns: usize) {
        let by = columns - self.columns;
        if by == 0 {
            return;
        }
        for layer in &mut self.layers {
            layer.shift(by, self.columns);
        }
        self.padding.iter_mut().for_each(|padding| *padding += by);
        self.columns = columns;
    }
}

impl LayerCache {
    fn shift(&mut self, by: usize, columns: usize) {
        let Some(buffers) = self.buffers.take() else {
            return;
        };
        let slots = self.slots_beyond(&buffers[0], by + columns);
        let shifted = buffers.map(|buffer| match self.window {
            Some(window) => rotated(buffer, by % window),
            None => moved(buffer.narrow(1, 0, columns), by, slots),
        });
        self.buffers = Some(shifted);
    }

    fn drop_front(&mut self, n: usize, columns: usize) {
        let Some(buffers) = self.buffers.take() else {
            return;
        };
        let shifted = buffers.map(|buffer| match self.window {
            Some(window) => rotated(buffer, window - n % window),
            None => {
                let slots = columns.next_multiple_of(super::layer::GROWTH);
                moved(buffer.narrow(1, n, columns), 0, slots)
            }
        });
        self.buffers = Some(shifted);
    }

    fn join(&mut self, other: Self) {
        let (Some(mine), Some(theirs)) = (self.buffers.take(), other.buffers) else {
            return;
        };
        let slots = mine[0].dims()[1].max(theirs[0].dims()[1]);
        let mut theirs = theirs.into_iter();
        let joined = mine.map(|mine| {
            let both = std::iter::once(mine).chain(theirs.next());
            let both = both.map(|buffer| super::layer::grown(buffer, slots));
            Tensor::cat(both.collect(), 0)
        });
        self.buffers = Some(joined);
    }

    fn slots_beyond(&self, buffer: &Tensor<4>, columns: usize) -> usize {
        buffer.dims()[1].max(columns.next_multiple_of(super::layer::GROWTH))
    }
}

/// A ring whose slots are moved back by some.
fn rotated(ring: Tensor<4>, by: usize) -> Tensor<4> {
    let slots = ring.dims()[1];
    let by = by % slots;
    if by == 0 {
        return ring;
    }
    let (front, back) = (
        ring.clone().narrow(1, 0, slots - by),
        ring.narrow(1, slots - by, by),
    );
    Tensor::cat(vec![back, front], 1)
}

/// Columns from `start` on in a buffer of `slots`.
fn moved(columns: Tensor<4>, start: usize, slots: usize) -> Tensor<4> {
    let empty = super::layer::zeros(&columns, slots);
    super::layer::put(empty, start, columns)
}
