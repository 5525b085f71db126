//! Keys and values of one layer.

use burn::tensor::{Int, Tensor};

use super::keys::Keys;

/// Slots by which the buffers of a full layer grow at least.
pub(super) const GROWTH: usize = 256;

/// Keys and values of the columns seen so far: all of them, or those of a window in a ring.
#[derive(Clone, Debug)]
pub(crate) struct LayerCache {
    pub(super) window: Option<usize>,
    /// Keys and values `[batch, slots, kv_heads, head_dim]`; column `c` is in slot `c`, in a ring in slot
    /// `c % window`.
    pub(super) buffers: Option<[Tensor<4>; 2]>,
}

/// What the queries of a step attend to.
pub(crate) struct Attended {
    /// `[batch, keys, kv_heads, head_dim]`
    pub key: Tensor<4>,
    /// `[batch, keys, kv_heads, head_dim]`
    pub value: Tensor<4>,
    pub keys: Keys,
}

impl LayerCache {
    pub fn new(window: Option<usize>) -> Self {
        Self {
            window,
            buffers: None,
        }
    }

    /// Adds the keys and values of further columns to the `columns` that were seen before.
    pub fn append(&mut self, columns: usize, key: Tensor<4>, value: Tensor<4>) -> Attended {
        let n_new = key.dims()[1];
        let new = [key, value];
        match self.window {
            Some(window) if n_new > 1 && columns + n_new > window => {
                self.append_beyond(columns, window, new)
            }
            Some(window) => {
                let [key, value] = self.write(columns % window, window, new);
                let keys = Keys::in_ring(columns, window);
                Attended { key, value, keys }
            }
            None => {
                let slots = self.slots_for(columns + n_new);
                let [key, value] = self.write(columns, slots, new);
                let keys = Keys::in_order(0, slots, columns);
                Attended { key, value, keys }
            }
        }
    }

    /// Keeps the rows with these numbers, in this order.
    pub fn select(&mut self, rows: &Tensor<1, Int>) {
        let select = |buffer: Tensor<4>| buffer.select(0, rows.clone());
        self.buffers = self.buffers.take().map(|buffers| buffers.map(select));
    }

    pub fn n_bytes(&self) -> usize {
        let buffers = self.buffers.iter().flatten();
        buffers
            .map(|buffer| buffer.dims().iter().product::<usize>() * buffer.dtype().size())
            .sum()
    }

    /// Slots of a full layer's buffers for this number of columns.
    fn slots_for(&self, columns: usize) -> usize {
        let slots = match &self.buffers {
            Some([key, _]) => key.dims()[1],
            None => 0,
        };
        match columns <= slots {
            true => slots,
            false => columns.max(2 * slots).next_multiple_of(GROWTH),
        }
    }

    /// Writes to buffers of `slots`, which are zeros where nothing was written.
    fn write(&mut self, slot: usize, slots: usize, new: [Tensor<4>; 2]) -> [Tensor<4>; 2] {
        let old = match self.buffers.take() {
            Some(buffers) => buffers.map(|buffer| grown(buffer, slots)),
            None => new.each_ref().map(|new| zeros(new, slots)),
        };
        let [old_key, old_value] = old;
        let [key, value] = new;
        // Nobody else holds the buffers, so that they are written in place.
        let buffers = [put(old_key, slot, key), put(old_value, slot, value)];
        self.buffers = Some(buffers.clone());
        buffers
    }

    /// Several columns, of which not all fit into the ring beside those that the first of them sees.
    fn append_beyond(&mut self, columns: usize, window: usize, new: [Tensor<4>; 2]) -> Attended {
        let n_kept = columns.min(window - 1);
        let n_all = n_kept + new[0].dims()[1];
        let end = columns - n_kept + n_all;
        let all = match self.buffers.take() {
            Some(buffers) if n_kept > 0 => {
                let [old_key, old_value] =
                    buffers.map(|ring| in_order(ring, columns - n_kept, n_kept));
                let [key, value] = new;
                [
                    Tensor::cat(vec![old_key, key], 1),
                    Tensor::cat(vec![old_value, value], 1),
                ]
            }
            _ => new,
        };
        let ring = |all: &Tensor<4>| {
            let last = all.clone().narrow(1, n_all - window, window);
            // The first of these columns has the slot `end % window`.
            in_order(last, window - end % window, window)
        };
        self.buffers = Some(all.each_ref().map(ring));
        let keys = Keys::in_order(columns - n_kept, n_all, n_kept).with_window(window);
        let [key, value] = all;
        Attended { key, value, keys }
    }
}

/// `n` slots of a ring from `start` on, its slots counted beyond the end.
fn in_order(ring: Tensor<4>, start: usize, n: usize) -> Tensor<4> {
    let slots = ring.dims()[1];
    let start = start % slots;
    if start + n <= slots {
        return ring.narrow(1, start, n);
    }
    let n_first = slots - start;
    let first = ring.clone().narrow(1, start, n_first);
    Tensor::cat(vec![first, ring.narrow(1, 0, n - n_first)], 1)
}

pub(super) fn zeros(like: &Tensor<4>, slots: usize) -> Tensor<4> {
    let [batch, _, heads, dim] = like.dims();
    Tensor::zeros([batch, slots, heads, dim], (&like.device(), like.dtype()))
}

pub(super) fn grown(buffer: Tensor<4>, slots: usize) -> Tensor<4> {
    match buffer.dims()[1] == slots {
        true => buffer,
        false => put(zeros(&buffer, slots), 0, buffer),
    }
}

pub(super) fn put(buffer: Tensor<4>, slot: usize, values: Tensor<4>) -> Tensor<4> {
    let [batch, n, heads, dim] = values.dims();
    buffer.slice_assign([0..batch, slot..slot + n, 0..heads, 0..dim], values)
}
