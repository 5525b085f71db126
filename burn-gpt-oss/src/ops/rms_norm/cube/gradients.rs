//! Launches of the gradients.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::kernels::backward::{gradients_of_rows, input_gradient, weight_partials};
use super::kernels::partials::sum_partials;
use super::rows::Rows;
use burn_fp4::backend::cube::{
    Hardware, Team, buffer, contiguous, cubes, empty, float_type, zeros,
};

/// Vectors of a row for which a unit has registers.
const MOST_TURNS: usize = 8;
/// Cubes for each multiprocessor: enough to hide the latency of memory, few enough partial sums.
const CUBES: usize = 4;
/// Multiprocessors where the number is not known.
const PROCESSORS: usize = 64;
/// Rows of a partial sum where units work alone.
const ROWS_ALONE: usize = 64;
/// Units side by side that sum partial sums, and how many share a column.
const COLUMNS: usize = 32;
const SHARES: usize = 8;

/// The gradients by the input, in its dtype, and by the weight.
pub(super) fn gradients(
    grad: CubeTensor,
    input: CubeTensor,
    weight: CubeTensor,
    reciprocals: CubeTensor,
) -> (CubeTensor, CubeTensor) {
    assert_eq!(
        grad.dtype, input.dtype,
        "dtypes of an input and its gradient"
    );
    let [grad, input, weight, reciprocals] = [grad, input, weight, reciprocals].map(contiguous);
    let size = weight.meta.num_elements();
    let by_input = empty(&input, input.shape(), input.dtype);
    let Some(rows) = Rows::new(&input, size, &[&weight, &grad]) else {
        let by_weight = zeros(&input, Shape::new([size]), DType::F32);
        return (by_input, by_weight);
    };
    let tensors = Tensors {
        grad,
        input,
        weight,
        reciprocals,
        by_input,
    };
    let partials = match rows.team == Team::ALONE || rows.turns() > MOST_TURNS {
        true => tensors.in_two_passes(&rows),
        false => tensors.in_one_pass(&rows),
    };
    (tensors.by_input, sum(&partials, size))
}

struct Tensors {
    grad: CubeTensor,
    input: CubeTensor,
    weight: CubeTensor,
    reciprocals: CubeTensor,
    by_input: CubeTensor,
}

impl Tensors {
    /// Writes the gradient by the input; returns partial sums of that by the weight.
    fn in_one_pass(&self, rows: &Rows) -> CubeTensor {
        let client = &self.input.client;
        let processors = client.properties().hardware.num_streaming_multiprocessors;
        let most = CUBES * processors.map_or(PROCESSORS, |n| n as usize);
        let rows_each = rows.n_rows.div_ceil(most);
        let n_partials = rows.n_rows.div_ceil(rows_each);
        let partials = self.partials(rows, n_partials);
        // SAFETY: cubes beyond the last row end at once; the others write a partial sum each.
        unsafe {
            gradients_of_rows::launch_unchecked(
                client,
                cubes(client, n_partials),
                CubeDim::new_1d(rows.team.cube_units()),
                rows.address_type,
                rows.vector,
                buffer(&self.grad),
                buffer(&self.input),
                buffer(&self.weight),
                buffer(&self.reciprocals),
                buffer(&self.by_input),
                buffer(&partials),
                rows.n_rows,
                rows_each,
                rows.n_vectors,
                rows.size as f32,
                rows.turns(),
                rows.team,
                float_type(&self.input),
            );
        }
        partials
    }

    /// As [`in_one_pass`](Self::in_one_pass), without registers for a row.
    fn in_two_passes(&self, rows: &Rows) -> CubeTensor {
        let client = &self.input.client;
        let n_partials = rows.n_rows.div_ceil(ROWS_ALONE);
        let partials = self.partials(rows, n_partials);
        let n_units = n_partials * rows.n_vectors;
        let dim = CubeDim::new(client, n_units);
        // SAFETY: teams beyond the last row and units beyond the last partial sum end at once.
        unsafe {
            input_gradient::launch_unchecked(
                client,
                cubes(client, rows.team.n_cubes(rows.n_rows)),
                CubeDim::new_1d(rows.team.cube_units()),
                rows.address_type,
                rows.vector,
                buffer(&self.grad),
                buffer(&self.input),
                buffer(&self.weight),
                buffer(&self.reciprocals),
                buffer(&self.by_input),
                rows.n_rows,
                rows.n_vectors,
                rows.size as f32,
                rows.team,
                float_type(&self.input),
            );
            weight_partials::launch_unchecked(
                client,
                calculate_cube_count_elemwise(client, n_units, dim),
                dim,
                rows.address_type,
                rows.vector,
                buffer(&self.grad),
                buffer(&self.input),
                buffer(&self.reciprocals),
                buffer(&partials),
                rows.n_rows,
                ROWS_ALONE,
                rows.n_vectors,
                n_units,
                float_type(&self.input),
            );
        }
        partials
    }

    fn partials(&self, rows: &Rows, n: usize) -> CubeTensor {
        empty(&self.input, Shape::new([n, rows.size]), DType::F32)
    }
}

/// The sums of the columns.
fn sum(partials: &CubeTensor, size: usize) -> CubeTensor {
    let client = &partials.client;
    let output = empty(partials, Shape::new([size]), DType::F32);
    let shares = match Hardware::of(client).shared_memory {
        true => SHARES,
        false => 1,
    };
    // SAFETY: units beyond the last column neither read nor write.
    unsafe {
        sum_partials::launch_unchecked(
            client,
            cubes(client, size.div_ceil(COLUMNS)),
            CubeDim::new_1d((COLUMNS * shares) as u32),
            AddressType::from_len(partials.meta.num_elements()),
            buffer(partials),
            buffer(&output),
            partials.shape()[0],
            size,
            COLUMNS,
            shares,
        );
    }
    output
}
