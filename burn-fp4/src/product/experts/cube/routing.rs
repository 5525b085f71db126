//! Stable sort of the choices by counting.
//!
//! Choices are divided into chunks. Every expert's choices are counted by chunk, the counts added up along
//! the chunks, and then each chunk knows the rows of its choices. A unit has one expert in one chunk, so that
//! nothing depends on timing.

use burn::backend::TensorMetadata;
use burn::backend::ops::IntTensorOps;
use burn::tensor::{DType, IntDType};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::super::ExpertRoutes;
use crate::product::cube::gemm::product::RouteTensors;
use crate::product::cube::{contiguous, empty, zeros};

/// Choices of a chunk.
const CHUNK: usize = 256;
/// Units of a cube.
const UNITS: u32 = 64;

/// A routing as kernels read it.
pub(super) fn tensors(routes: ExpertRoutes<CubeBackend>) -> RouteTensors {
    let (order, offsets) = (integers(routes.order), integers(routes.offsets));
    RouteTensors {
        n_rows: order.meta.num_elements(),
        n_experts: offsets.meta.num_elements() - 1,
        order,
        offsets,
        top_k: routes.top_k,
    }
}

fn integers(tensor: CubeTensor) -> CubeTensor {
    contiguous(match tensor.dtype {
        DType::I32 | DType::U32 => tensor,
        _ => CubeBackend::int_cast(tensor, IntDType::I32),
    })
}

pub(super) fn sort(indices: CubeTensor, n_experts: usize) -> ExpertRoutes<CubeBackend> {
    let [_, top_k] = indices.shape().dims();
    let indices = integers(indices);
    let n = indices.meta.num_elements();
    if n == 0 {
        return ExpertRoutes {
            order: empty(&indices, [0], DType::I32),
            offsets: zeros(&indices, [n_experts + 1], DType::I32),
            top_k,
        };
    }
    let order = empty(&indices, [n], DType::I32);
    let offsets = empty(&indices, [n_experts + 1], DType::I32);
    let n_chunks = n.div_ceil(CHUNK);
    let counts = empty(&indices, [n_experts * n_chunks], DType::I32);
    let totals = empty(&indices, [n_experts], DType::I32);
    let client = indices.client.clone();
    let cubes = |units: usize| CubeCount::Static(units.div_ceil(UNITS as usize) as u32, 1, 1);
    let dim = CubeDim::new_1d(UNITS);
    let address = indices.required_address_type();
    let buffer = |tensor: &CubeTensor| tensor.clone().into_buffer_arg();
    // SAFETY: units beyond the last chunk or expert end at once; experts are clamped, so that all rows
    // together are as many as choices.
    unsafe {
        count_choices::launch_unchecked(
            &client,
            cubes(n_chunks * n_experts),
            dim,
            address,
            buffer(&indices),
            buffer(&counts),
            n,
            n_chunks,
            n_experts,
        );
        add_up::launch_unchecked(
            &client,
            cubes(n_experts),
            dim,
            address,
            buffer(&counts),
            buffer(&totals),
            n_chunks,
            n_experts,
        );
        place_choices::launch_unchecked(
            &client,
            cubes(n_chunks * n_experts),
            dim,
            address,
            buffer(&indices),
            buffer(&counts),
            buffer(&totals),
            buffer(&order),
            buffer(&offsets),
            n,
            n_chunks,
            n_experts,
        );
    }
    ExpertRoutes {
        order,
        offsets,
        top_k,
    }
}

/// The expert of a choice; one that does not exist is the last one.
#[cube]
fn expert_of(indices: &[u32], choice: usize, n_experts: usize) -> usize {
    min(indices[choice], n_experts as u32 - 1) as usize
}

/// Choices of every expert in every chunk, `[experts, chunks]`.
#[cube(launch_unchecked, address_type = "dynamic")]
fn count_choices(indices: &[u32], counts: &mut [u32], n: usize, n_chunks: usize, n_experts: usize) {
    let (chunk, expert) = (ABSOLUTE_POS / n_experts, ABSOLUTE_POS % n_experts);
    if chunk >= n_chunks {
        terminate!();
    }
    let mut count = 0u32;
    for choice in chunk * CHUNK..min((chunk + 1) * CHUNK, n) {
        count += u32::cast_from(expert_of(indices, choice, n_experts) == expert);
    }
    counts[expert * n_chunks + chunk] = count;
}

/// Turns the counts of every expert into those of all chunks before, and adds up all.
#[cube(launch_unchecked, address_type = "dynamic")]
fn add_up(counts: &mut [u32], totals: &mut [u32], n_chunks: usize, n_experts: usize) {
    let expert = ABSOLUTE_POS;
    if expert >= n_experts {
        terminate!();
    }
    let mut sum = 0u32;
    for chunk in 0..n_chunks {
        let at = expert * n_chunks + chunk;
        let count = counts[at];
        counts[at] = sum;
        sum += count;
    }
    totals[expert] = sum;
}

/// Writes the choices of every expert in their order, and where each expert begins.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
fn place_choices(
    indices: &[u32],
    counts: &[u32],
    totals: &[u32],
    order: &mut [u32],
    offsets: &mut [u32],
    n: usize,
    n_chunks: usize,
    n_experts: usize,
) {
    let (chunk, expert) = (ABSOLUTE_POS / n_experts, ABSOLUTE_POS % n_experts);
    if chunk >= n_chunks {
        terminate!();
    }
    let mut first = 0u32;
    for before in 0..expert {
        first += totals[before];
    }
    if chunk == 0 {
        offsets[expert] = first;
        if expert == n_experts - 1 {
            offsets[n_experts] = n as u32;
        }
    }
    let mut row = first + counts[expert * n_chunks + chunk];
    for choice in chunk * CHUNK..min((chunk + 1) * CHUNK, n) {
        if expert_of(indices, choice, n_experts) == expert {
            order[row as usize] = choice as u32;
            row += 1u32;
        }
    }
}
