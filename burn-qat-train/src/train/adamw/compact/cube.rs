//! For CubeCL: a unit has two groups, which it overwrites.
#![allow(unsafe_code)]

mod kernel;
#[cfg(all(test, feature = "cuda"))]
mod ptx;

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::into_data_sync;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;
use burn_fp4::backend::cube::zeros;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::extension::{CompactAdamWBackend, CompactPrimitive};
use super::{CompactStep, MOMENT_GROUP, Moments};
use kernel::{FactorsLaunch, GROUPS, compact_update};

/// Elements of a unit.
const UNIT: usize = GROUPS * MOMENT_GROUP;

/// Words of a vector.
const VECTOR: usize = 4;

impl CompactAdamWBackend for CubeBackend {
    fn compact_adamw(
        grad: FloatTensor<Self>,
        state: CompactPrimitive<Self>,
        step: CompactStep,
    ) -> CompactPrimitive<Self> {
        let n = grad.shape().num_elements();
        if !n.is_multiple_of(UNIT) {
            return on_host(grad, state, step);
        }
        let grad = into_contiguous(grad);
        let state = CompactPrimitive {
            weight: own(state.weight),
            remainder: own(state.remainder),
            codes_1: own(state.codes_1),
            scales_1: own(state.scales_1),
            codes_2: own(state.codes_2),
            scales_2: own(state.scales_2),
        };
        if n > 0 {
            launch(&grad, &state, n / UNIT, step);
        }
        state
    }
}

fn launch(
    grad: &CubeTensor,
    state: &CompactPrimitive<CubeBackend>,
    n_units: usize,
    step: CompactStep,
) {
    let client = &grad.client;
    let dim = CubeDim::new(client, n_units);
    // Moments in float32 are where scales are otherwise.
    let [moment_1, moment_2] = match step.format.moments {
        Moments::F32 => [&state.scales_1, &state.scales_2],
        Moments::Companded8 => [&state.codes_1, &state.codes_2],
    };
    let [scales_1, scales_2] = match step.format.moments {
        Moments::F32 => [&state.codes_1, &state.codes_2],
        Moments::Companded8 => [&state.scales_1, &state.scales_2],
    };
    let factors = step.factors;
    // SAFETY: units beyond the last one end at once; the others have whole groups, and parts that a format has no use
    // for are not touched.
    unsafe {
        compact_update::launch_unchecked(
            client,
            calculate_cube_count_elemwise(client, n_units, dim),
            dim,
            AddressType::from_len(n_units * UNIT),
            VECTOR,
            words(&state.weight),
            words(&state.remainder),
            words(moment_1),
            words(moment_2),
            words(scales_1),
            words(scales_2),
            words(grad),
            FactorsLaunch::new(
                factors.beta_1,
                factors.beta_2,
                factors.bias_1,
                factors.bias_2,
                factors.epsilon,
                factors.learning_rate,
                factors.decay.unwrap_or(1.0),
                step.coefficient,
            ),
            step.seed,
            n_units,
            step.format.masters,
            step.format.moments,
        );
    }
}

/// The memory of a tensor as words; some of its own for one that is empty.
fn words(tensor: &CubeTensor) -> BufferArg {
    let tensor = match tensor.shape().num_elements() {
        0 => zeros(tensor, [UNIT], DType::U32),
        _ => tensor.clone(),
    };
    let n_words = tensor.handle.size_in_used().div_ceil(4) as usize;
    // SAFETY: the length is that of the memory; allocations are whole words.
    unsafe { BufferArg::from_raw_parts(tensor.handle, n_words) }
}

/// A tensor without gaps that nobody else sees.
fn own(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    match tensor.can_mut() || tensor.shape().num_elements() == 0 {
        true => tensor,
        false => into_contiguous(tensor.copy()),
    }
}

/// What is no multiple of two groups is small: Flex stands in.
fn on_host(
    grad: CubeTensor,
    state: CompactPrimitive<CubeBackend>,
    step: CompactStep,
) -> CompactPrimitive<CubeBackend> {
    let like = grad.clone();
    let down = |tensor: CubeTensor| FlexTensor::from_data(into_data_sync(tensor));
    let updated = Flex::compact_adamw(
        down(grad),
        CompactPrimitive {
            weight: down(state.weight),
            remainder: down(state.remainder),
            codes_1: down(state.codes_1),
            scales_1: down(state.scales_1),
            codes_2: down(state.codes_2),
            scales_2: down(state.scales_2),
        },
        step,
    );
    let device = &like.device;
    let float = |tensor: FlexTensor| CubeBackend::float_from_data(tensor.into_data(), device);
    let int = |tensor: FlexTensor| CubeBackend::int_from_data(tensor.into_data(), device);
    CompactPrimitive {
        weight: float(updated.weight),
        remainder: int(updated.remainder),
        codes_1: int(updated.codes_1),
        scales_1: float(updated.scales_1),
        codes_2: int(updated.codes_2),
        scales_2: float(updated.scales_2),
    }
}
