//! What is known of each row beside its logits, and the launches that use it.

use burn::backend::TensorMetadata;
use burn::backend::ops::IntTensorOps;
use burn::tensor::{DType, IntDType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::kernels::{logits_gradient, loss_of_rows, sum_losses};
use burn_fp4::backend::cube::{
    Hardware, Team, buffer, contiguous, cubes, empty, float_type, vector_size,
};

/// Units for a row of logits.
const MOST_UNITS: usize = 512;
/// Units for the sum of the losses.
const SUM_UNITS: usize = 256;
/// Vectors whose exponentials are summed before they go into the sum of the row.
const SPAN: usize = 4096;

pub(super) struct Rows {
    targets: CubeTensor,
    weights: CubeTensor,
    losses: CubeTensor,
    /// The largest logits, and the weights over the sums of exponentials.
    largest: CubeTensor,
    factors: CubeTensor,
}

impl Rows {
    pub fn new(targets: CubeTensor, weights: CubeTensor) -> Self {
        assert_eq!(weights.dtype, DType::F32, "dtype of the row weights");
        let targets = CubeBackend::int_cast(targets, IntDType::I32);
        let like_weights = || empty(&weights, weights.shape(), DType::F32);
        Self {
            targets: contiguous(targets),
            losses: like_weights(),
            largest: like_weights(),
            factors: like_weights(),
            weights: contiguous(weights),
        }
    }

    /// Computes the losses of the rows of `logits`, the first of which is row `first` of all.
    pub fn losses(&self, logits: &CubeTensor, first: usize) {
        let [n_rows, vocabulary] = logits.shape().dims();
        let client = &logits.client;
        let vector = vector_size(logits, vocabulary, &[]);
        let team = Team::new(&Hardware::of(client), vocabulary / vector, MOST_UNITS);
        // SAFETY: teams beyond the last row end at once; targets are limited to the vocabulary.
        unsafe {
            loss_of_rows::launch_unchecked(
                client,
                cubes(client, team.n_cubes(n_rows)),
                CubeDim::new_1d(team.cube_units()),
                AddressType::from_len(n_rows * vocabulary),
                vector,
                buffer(logits),
                buffer(&self.targets),
                buffer(&self.weights),
                buffer(&self.losses),
                buffer(&self.largest),
                buffer(&self.factors),
                first,
                n_rows,
                vocabulary / vector,
                SPAN,
                team,
            );
        }
    }

    /// After [`losses`](Self::losses), writes the gradient by `logits` to the rows of `gradient` from
    /// `place` on.
    pub fn gradient(&self, logits: &CubeTensor, first: usize, gradient: &CubeTensor, place: usize) {
        let [n_rows, vocabulary] = logits.shape().dims();
        let client = &logits.client;
        let vector = vector_size(logits, vocabulary, &[gradient]);
        let n_units = n_rows * vocabulary / vector;
        let dim = CubeDim::new(client, n_units);
        // SAFETY: units beyond the last vector end at once; `gradient` has as many rows from `place` on.
        unsafe {
            logits_gradient::launch_unchecked(
                client,
                calculate_cube_count_elemwise(client, n_units, dim),
                dim,
                AddressType::from_len(gradient.meta.num_elements()),
                vector,
                buffer(logits),
                buffer(&self.targets),
                buffer(&self.weights),
                buffer(&self.largest),
                buffer(&self.factors),
                buffer(gradient),
                first,
                place,
                vocabulary / vector,
                n_units,
                float_type(gradient),
            );
        }
    }

    /// The sum of the losses.
    pub fn total(&self) -> CubeTensor {
        let client = &self.losses.client;
        let n_rows = self.losses.meta.num_elements();
        let team = Team::new(&Hardware::of(client), n_rows, SUM_UNITS);
        let total = empty(&self.losses, Shape::new([1]), DType::F32);
        // SAFETY: one team; units beyond the last row read nothing.
        unsafe {
            sum_losses::launch_unchecked(
                client,
                CubeCount::new_single(),
                CubeDim::new_1d(team.units as u32),
                buffer(&self.losses),
                buffer(&total),
                n_rows,
                team,
            );
        }
        total
    }
}
