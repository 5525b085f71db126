//! Forward pass: every tile of queries on its own.

use std::ops::Range;

use burn::backend::Flex;
use rayon::prelude::*;

use super::super::extension::{AttentionInputs, AttentionOptions, AttentionOutput, KeySegments};
use super::geometry::{Geometry, key_tiles};
use super::mask::{Mask, Tile};
use super::rows::{Head, Rows, Share, deal, store};
use super::softmax::{Absorb, Hide};
use burn_fp4::backend::flex::{
    FloatElement, Matrix, MatrixMut, dispatch, elements, product, tensor,
};

pub(super) fn run<T: FloatElement>(
    inputs: &AttentionInputs<Flex>,
    segments: &KeySegments<Flex>,
    options: &AttentionOptions,
) -> AttentionOutput<Flex> {
    let shape = Geometry::of(inputs);
    let Geometry {
        batch,
        len,
        kv_heads,
        group,
        dim,
        ..
    } = shape;
    let (query, key) = (elements::<T>(&inputs.query), elements::<T>(&inputs.key));
    let value = elements::<T>(&inputs.value);
    let pass = Forward {
        shape,
        scale: options.scale,
        query: Rows::new(&query, [len, kv_heads, group * dim]),
        key: Rows::new(&key, [shape.keys, kv_heads, dim]),
        value: Rows::new(&value, [shape.keys, kv_heads, dim]),
        sinks: super::sinks(&inputs.sinks),
        mask: Mask::new(segments, options, shape.keys),
    };

    let mut output = vec![T::default(); query.len()];
    let mut log_sum_exp = vec![0.0; batch * len * shape.heads()];
    let outputs = deal(&mut output, [len, kv_heads, group * dim], shape.tile());
    let logs = deal(&mut log_sum_exp, [len, kv_heads, group], shape.tile());
    outputs
        .into_par_iter()
        .zip(logs)
        .zip(pass.tasks())
        .for_each_init(
            Scratch::default,
            |scratch, ((output, log), (head, tile))| {
                pass.tile(head, tile, scratch);
                scratch.finish(output, log, shape);
            },
        );
    AttentionOutput {
        output: tensor(output, [batch, len, shape.heads(), dim]),
        log_sum_exp: tensor(log_sum_exp, [batch, len, shape.heads()]),
    }
}

struct Forward<'a, T> {
    shape: Geometry,
    scale: f32,
    query: Rows<'a, T>,
    key: Rows<'a, T>,
    value: Rows<'a, T>,
    sinks: Vec<f32>,
    mask: Mask,
}

/// Buffers of one thread; rows are the heads of one query after those of the one before.
#[derive(Default)]
struct Scratch {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    scores: Vec<f32>,
    mask: Vec<f32>,
    maxima: Vec<f32>,
    sums: Vec<f32>,
    output: Vec<f32>,
}

impl<T: FloatElement> Forward<'_, T> {
    /// In the order of `[batch, kv_heads, tile]`.
    fn tasks(&self) -> Vec<(Head, Range<usize>)> {
        let Geometry {
            batch, kv_heads, ..
        } = self.shape;
        let heads =
            (0..batch).flat_map(|batch| (0..kv_heads).map(move |index| Head { batch, index }));
        heads
            .flat_map(|head| self.shape.query_tiles().map(move |tile| (head, tile)))
            .collect()
    }

    fn tile(&self, head: Head, queries: Range<usize>, scratch: &mut Scratch) {
        let Geometry { group, dim, .. } = self.shape;
        let sinks = &self.sinks[head.index * group..][..group];
        self.query
            .load(head, queries.clone(), self.scale, &mut scratch.query);
        scratch.start(queries.len(), sinks, dim);
        for keys in key_tiles(self.mask.keys(&queries)) {
            let tile = self
                .mask
                .tile(head.batch, &queries, &keys, &mut scratch.mask);
            if tile != Tile::Hidden {
                self.key.load(head, keys.clone(), 1.0, &mut scratch.key);
                self.value.load(head, keys.clone(), 1.0, &mut scratch.value);
                scratch.absorb(tile, keys.len(), group, dim);
            }
        }
    }
}

impl Scratch {
    /// The sink is what every row has seen before its first key: weight 1 at its own score.
    fn start(&mut self, queries: usize, sinks: &[f32], dim: usize) {
        let rows = queries * sinks.len();
        self.maxima.clear();
        self.maxima.extend(sinks.iter().cycle().take(rows));
        refill(&mut self.sums, rows, 1.0);
        refill(&mut self.output, rows * dim, 0.0);
    }

    fn absorb(&mut self, tile: Tile, keys: usize, group: usize, dim: usize) {
        let rows = self.maxima.len();
        self.scores.resize(rows * keys, 0.0);
        let query = Matrix::new(&self.query, [rows, dim]);
        let key = Matrix::new(&self.key, [keys, dim]);
        let scores = MatrixMut::new(&mut self.scores, [rows, keys]);
        product(scores, query, key.transposed(), false);
        if tile == Tile::Mixed {
            dispatch(Hide {
                scores: &mut self.scores,
                mask: &self.mask,
                group,
                keys,
            });
        }
        dispatch(Absorb {
            scores: &mut self.scores,
            keys,
            maxima: &mut self.maxima,
            sums: &mut self.sums,
            output: &mut self.output,
        });
        let weights = Matrix::new(&self.scores, [rows, keys]);
        let value = Matrix::new(&self.value, [keys, dim]);
        let output = MatrixMut::new(&mut self.output, [rows, dim]);
        product(output, weights, value, true);
    }

    fn finish<T: FloatElement>(
        &mut self,
        mut output: Share<'_, T>,
        mut log_sum_exp: Share<'_, f32>,
        shape: Geometry,
    ) {
        for (row, sum) in self.output.chunks_exact_mut(shape.dim).zip(&self.sums) {
            row.iter_mut().for_each(|x| *x /= sum);
        }
        store(&mut output, &self.output);
        let state = self.maxima.iter_mut().zip(&self.sums);
        state.for_each(|(maximum, sum)| *maximum += sum.ln());
        store(&mut log_sum_exp, &self.maxima);
    }
}

fn refill(values: &mut Vec<f32>, len: usize, value: f32) {
    values.clear();
    values.resize(len, value);
}
