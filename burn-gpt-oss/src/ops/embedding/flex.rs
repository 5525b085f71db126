use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};
use rayon::prelude::*;

use super::EmbeddingBackend;
use burn_fp4::backend::flex::{FloatElement, elements, indices, tensor, with_float};

/// Rows a thread takes at least.
const ROWS: usize = 64;

impl EmbeddingBackend for Flex {
    fn embedding_rows(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        with_float!(weight.dtype(), T => {
            let [vocab_size, width] = weight.shape().dims();
            let ids = known(indices(ids), vocab_size);
            let rows = gathered::<T>(&elements(&weight), &ids, width);
            tensor(rows, [ids.len(), width])
        })
    }

    fn embedding_rows_gradient(
        grad: FloatTensor<Self>,
        ids: IntTensor<Self>,
        vocab_size: usize,
    ) -> FloatTensor<Self> {
        with_float!(grad.dtype(), T => {
            let [_, width] = grad.shape().dims();
            let places = Places::new(&known(indices(ids), vocab_size), vocab_size);
            let sums = places.sums::<T>(&elements(&grad), width);
            tensor(sums, [vocab_size, width])
        })
    }
}

/// The ids.
///
/// # Panics
/// If one is not in the vocabulary.
fn known(ids: Vec<usize>, vocab_size: usize) -> Vec<usize> {
    if let Some(id) = ids.iter().find(|id| **id >= vocab_size) {
        panic!("id {id} is not in the vocabulary of {vocab_size}");
    }
    ids
}

fn gathered<T: FloatElement>(weight: &[T], ids: &[usize], width: usize) -> Vec<T> {
    let mut out = vec![T::zeroed(); ids.len() * width];
    let rows = out.par_chunks_mut(width.max(1)).zip(ids);
    rows.with_min_len(ROWS).for_each(|(row, id)| {
        row.copy_from_slice(&weight[id * width..][..width]);
    });
    out
}

/// Where each id is.
struct Places {
    /// Of each id, the first of its places among all; one more at the end.
    starts: Vec<usize>,
    /// Sorted by id, those of an id in ascending order.
    places: Vec<usize>,
}

impl Places {
    /// Counting sort.
    fn new(ids: &[usize], vocab_size: usize) -> Self {
        let mut starts = vec![0; vocab_size + 1];
        for id in ids {
            starts[id + 1] += 1;
        }
        for id in 0..vocab_size {
            starts[id + 1] += starts[id];
        }
        let (mut next, mut places) = (starts.clone(), vec![0; ids.len()]);
        for (place, id) in ids.iter().enumerate() {
            places[next[*id]] = place;
            next[*id] += 1;
        }
        Self { starts, places }
    }

    /// For each id the sum of the rows at its places.
    fn sums<T: FloatElement>(&self, rows: &[T], width: usize) -> Vec<T> {
        let mut out = vec![T::zeroed(); (self.starts.len() - 1) * width];
        let sums = out.par_chunks_mut(width.max(1)).enumerate();
        sums.with_min_len(ROWS).for_each_init(
            || (Vec::new(), Vec::new()),
            |(sum, space), (id, out)| {
                let places = &self.places[self.starts[id]..self.starts[id + 1]];
                if places.is_empty() {
                    return;
                }
                sum.clear();
                sum.resize(width, 0.0f32);
                for place in places {
                    let row = T::widen(&rows[place * width..][..width], space);
                    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
                T::narrow(sum, out);
            },
        );
        out
    }
}
