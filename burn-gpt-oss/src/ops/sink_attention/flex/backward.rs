//! Backward pass: every key head on its own, its tiles of queries in order, so that sums have a fixed
//! order.

use std::ops::Range;

use burn::backend::Flex;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::super::extension::{AttentionInputs, AttentionOptions, AttentionOutput, KeySegments};
use super::geometry::{Geometry, key_tiles};
use super::mask::{Mask, Tile};
use super::rows::{Head, Rows, Share, deal, store};
use super::softmax::{Gradients, Hide, RowProducts};
use crate::ops::exponential::flex::exp;
use burn_fp4::backend::flex::{
    FloatElement, Matrix, MatrixMut, dispatch, elements, product, tensor,
};

pub(super) fn run<T: FloatElement>(
    grad: &FlexTensor,
    inputs: &AttentionInputs<Flex>,
    output: &AttentionOutput<Flex>,
    segments: &KeySegments<Flex>,
    options: &AttentionOptions,
) -> AttentionInputs<Flex> {
    let shape = Geometry::of(inputs);
    let Geometry {
        batch,
        len,
        keys,
        kv_heads,
        group,
        dim,
    } = shape;
    let (query, key) = (elements::<T>(&inputs.query), elements::<T>(&inputs.key));
    let (value, grad) = (elements::<T>(&inputs.value), elements::<T>(grad));
    let out = elements::<T>(&output.output);
    let log_sum_exp = elements::<f32>(&output.log_sum_exp);
    let (wide, narrow) = ([len, kv_heads, group * dim], [keys, kv_heads, dim]);
    let pass = Backward {
        shape,
        scale: options.scale,
        query: Rows::new(&query, wide),
        key: Rows::new(&key, narrow),
        value: Rows::new(&value, narrow),
        output: Rows::new(&out, wide),
        grad: Rows::new(&grad, wide),
        log_sum_exp: Rows::new(&log_sum_exp, [len, kv_heads, group]),
        sinks: super::sinks(&inputs.sinks),
        mask: Mask::new(segments, options, keys),
    };

    let zero = T::default();
    let mut queries = vec![zero; query.len()];
    let (mut key_grads, mut value_grads) = (vec![zero; key.len()], vec![zero; value.len()]);
    let sinks: Vec<Vec<f64>> = deal(&mut queries, wide, len)
        .into_par_iter()
        .zip(deal(&mut key_grads, narrow, keys))
        .zip(deal(&mut value_grads, narrow, keys))
        .enumerate()
        .map(|(task, ((query, key), value))| {
            let (batch, index) = (task / kv_heads, task % kv_heads);
            pass.head(Head { batch, index }, query, key, value)
        })
        .collect();
    let sinks = sum_over_batch(&sinks, kv_heads);
    AttentionInputs {
        query: tensor(queries, [batch, len, shape.heads(), dim]),
        key: tensor(key_grads, [batch, keys, kv_heads, dim]),
        value: tensor(value_grads, [batch, keys, kv_heads, dim]),
        sinks: super::sink_gradient(&sinks, inputs.sinks.dtype()),
    }
}

/// Sums of the tasks `[batch, kv_heads]`, a value per head of their group each, in order.
fn sum_over_batch(tasks: &[Vec<f64>], kv_heads: usize) -> Vec<f32> {
    let of_head = |head| tasks.iter().skip(head).step_by(kv_heads);
    (0..kv_heads)
        .flat_map(|head| {
            let group = tasks.get(head).map_or(0, Vec::len);
            (0..group).map(move |i| of_head(head).map(|task| task[i]).sum::<f64>() as f32)
        })
        .collect()
}

struct Backward<'a, T> {
    shape: Geometry,
    scale: f32,
    query: Rows<'a, T>,
    key: Rows<'a, T>,
    value: Rows<'a, T>,
    output: Rows<'a, T>,
    grad: Rows<'a, T>,
    log_sum_exp: Rows<'a, f32>,
    sinks: Vec<f32>,
    mask: Mask,
}

/// What the tiles of one key head share: all of its keys, and sums over queries.
#[derive(Default)]
struct Keys {
    key: Vec<f32>,
    value: Vec<f32>,
    key_grad: Vec<f32>,
    value_grad: Vec<f32>,
}

/// One tile of queries; rows are the heads of one query after those of the one before.
#[derive(Default)]
struct Queries {
    query: Vec<f32>,
    grad: Vec<f32>,
    output: Vec<f32>,
    log_sum_exp: Vec<f32>,
    deltas: Vec<f32>,
    query_grad: Vec<f32>,
    scores: Vec<f32>,
    score_grads: Vec<f32>,
    mask: Vec<f32>,
}

impl<T: FloatElement> Backward<'_, T> {
    /// The gradients of one key head and its group of query heads; returns those of the sinks.
    fn head(
        &self,
        head: Head,
        mut query_grad: Share<'_, T>,
        mut key_grad: Share<'_, T>,
        mut value_grad: Share<'_, T>,
    ) -> Vec<f64> {
        let Geometry {
            keys, group, dim, ..
        } = self.shape;
        let mut shared = Keys::default();
        self.key.load(head, 0..keys, 1.0, &mut shared.key);
        self.value.load(head, 0..keys, 1.0, &mut shared.value);
        shared.key_grad.resize(keys * dim, 0.0);
        shared.value_grad.resize(keys * dim, 0.0);

        let sinks = &self.sinks[head.index * group..][..group];
        let mut sink_grads = vec![0.0; group];
        let mut tile = Queries::default();
        for queries in self.shape.query_tiles() {
            self.load(head, &queries, &mut tile);
            for keys in key_tiles(self.mask.keys(&queries)) {
                let seen = self.mask.tile(head.batch, &queries, &keys, &mut tile.mask);
                tile.step(seen, keys, &mut shared, self.shape);
            }
            tile.add_sinks(sinks, &mut sink_grads);
            tile.query_grad.iter_mut().for_each(|x| *x *= self.scale);
            store(&mut query_grad[queries], &tile.query_grad);
        }
        store(&mut key_grad, &shared.key_grad);
        store(&mut value_grad, &shared.value_grad);
        sink_grads
    }

    fn load(&self, head: Head, queries: &Range<usize>, tile: &mut Queries) {
        let load = |rows: Rows<'_, T>, factor, out: &mut Vec<f32>| {
            rows.load(head, queries.clone(), factor, out);
        };
        load(self.query, self.scale, &mut tile.query);
        load(self.grad, 1.0, &mut tile.grad);
        load(self.output, 1.0, &mut tile.output);
        self.log_sum_exp
            .load(head, queries.clone(), 1.0, &mut tile.log_sum_exp);
        tile.deltas.resize(tile.log_sum_exp.len(), 0.0);
        dispatch(RowProducts {
            a: &tile.grad,
            b: &tile.output,
            out: &mut tile.deltas,
        });
        tile.query_grad.clear();
        tile.query_grad.resize(tile.query.len(), 0.0);
    }
}

impl Queries {
    /// Adds what one tile of keys gives.
    fn step(&mut self, seen: Tile, keys: Range<usize>, shared: &mut Keys, shape: Geometry) {
        if seen == Tile::Hidden {
            return;
        }
        let Geometry { group, dim, .. } = shape;
        let (n_keys, rows) = (keys.len(), self.deltas.len());
        let range = keys.start * dim..keys.end * dim;
        let key = Matrix::new(&shared.key[range.clone()], [n_keys, dim]);
        let value = Matrix::new(&shared.value[range.clone()], [n_keys, dim]);
        let query = Matrix::new(&self.query, [rows, dim]);
        let grad = Matrix::new(&self.grad, [rows, dim]);

        self.scores.resize(rows * n_keys, 0.0);
        self.score_grads.resize(rows * n_keys, 0.0);
        let scores = MatrixMut::new(&mut self.scores, [rows, n_keys]);
        product(scores, query, key.transposed(), false);
        let score_grads = MatrixMut::new(&mut self.score_grads, [rows, n_keys]);
        product(score_grads, grad, value.transposed(), false);
        if seen == Tile::Mixed {
            dispatch(Hide {
                scores: &mut self.scores,
                mask: &self.mask,
                group,
                keys: n_keys,
            });
        }
        dispatch(Gradients {
            scores: &mut self.scores,
            gradients: &mut self.score_grads,
            keys: n_keys,
            log_sum_exp: &self.log_sum_exp,
            deltas: &self.deltas,
        });
        let weights = Matrix::new(&self.scores, [rows, n_keys]).transposed();
        let score_grads = Matrix::new(&self.score_grads, [rows, n_keys]);
        let value_grad = &mut shared.value_grad[range.clone()];
        product(
            MatrixMut::new(value_grad, [n_keys, dim]),
            weights,
            grad,
            true,
        );
        let key_grad = MatrixMut::new(&mut shared.key_grad[range], [n_keys, dim]);
        product(key_grad, score_grads.transposed(), query, true);
        let query_grad = MatrixMut::new(&mut self.query_grad, [rows, dim]);
        product(query_grad, score_grads, key, true);
    }

    /// The sink has a weight but no value, so all its gradient comes from the sum of weights.
    fn add_sinks(&self, sinks: &[f32], sums: &mut [f64]) {
        let rows = self.log_sum_exp.iter().zip(&self.deltas).enumerate();
        for (row, (log_sum_exp, delta)) in rows {
            let head = row % sinks.len();
            let weight = exp(sinks[head] - log_sum_exp);
            sums[head] -= f64::from(weight * delta);
        }
    }
}
