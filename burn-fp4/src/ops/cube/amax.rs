//! Launches of what global scales are made from.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::ops::numeric::{ones_client, zeros_client};
use burn_cubecl::tensor::CubeTensor;
use cubecl::features::Plane;
use cubecl::prelude::*;

use super::buffer::{CUBE_UNITS, contiguous, empty_like, words};
use super::lines::Lines;
use crate::codec::e2m1;
use crate::ops::extension::amax_shape;
use crate::ops::kernels::amax::{AmaxRowsLaunch, IN_FLIGHT, raise_amax};
use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::global_scale;
use crate::scheme::Fp4Scheme;

/// Units for one magnitude, enough for every GPU to be busy.
const MAX_UNITS: usize = 1 << 18;

pub(super) fn amax(tensor: CubeTensor, scheme: &Fp4Scheme) -> CubeTensor {
    let shape = amax_shape(&tensor.shape(), scheme);
    let Fp4Scheme::Nvfp4 { .. } = scheme else {
        let (client, device) = (tensor.client.clone(), tensor.device.clone());
        return ones_client(client, device, shape, DType::F32);
    };
    let (client, device) = (tensor.client.clone(), tensor.device.clone());
    let out = zeros_client(client, device, shape.clone(), DType::F32);
    if tensor.meta.num_elements() == 0 {
        return out;
    }
    // Half of the last word would not be the tensor's.
    let odd = !tensor.meta.num_elements().is_multiple_of(2);
    let input = Lines::new(if odd { as_f32(tensor) } else { tensor }, shape[0]);
    let client = input.tensor.client.clone();
    let cubes = input
        .n_vectors
        .div_ceil(IN_FLIGHT)
        .min(MAX_UNITS)
        .div_ceil(CUBE_UNITS as usize) as u32;
    // SAFETY: every index is below that of the last vector of the last row.
    unsafe {
        raise_amax::launch_unchecked(
            &client,
            CubeCount::Static(cubes, shape[0] as u32, 1),
            CubeDim::new_1d(CUBE_UNITS),
            input.address_type(),
            input.vector,
            words(input.tensor.handle.clone()),
            words(out.handle.clone()),
            AmaxRowsLaunch::new(input.n_vectors, input.width, input.pitch),
            client.properties().features.plane.contains(Plane::Ops),
            input.floats,
        );
    }
    out
}

fn as_f32(tensor: CubeTensor) -> CubeTensor {
    match tensor.dtype {
        DType::F32 => tensor,
        _ => CubeBackend::float_cast(tensor, FloatDType::F32),
    }
}

/// Global scales for a tensor of this shape from its largest magnitudes; MXFP4 has a buffer that
/// nothing reads.
///
/// # Panics
///
/// If there are not as many magnitudes as the tensor has global scales.
pub(super) fn global_scales(
    amax: CubeTensor,
    shape: &Shape,
    scheme: &Fp4Scheme,
    arithmetic: Arithmetic,
) -> CubeTensor {
    let Fp4Scheme::Nvfp4 { scale_rule, .. } = scheme else {
        return amax;
    };
    let (found, expected) = (amax.meta.num_elements(), scheme.n_global_scales(shape));
    assert_eq!(
        found, expected,
        "FP4: largest magnitudes for a tensor of shape {shape:?}"
    );
    assert_eq!(
        amax.dtype,
        DType::F32,
        "FP4: dtype of the largest magnitudes"
    );
    let amax = contiguous(amax);
    let divisor = (e2m1::MAX * scale_rule.largest_scale()).to_bits();
    let (client, n_scales) = (amax.client.clone(), amax.meta.num_elements());
    let out = empty_like(&amax, n_scales);
    // SAFETY: units beyond the last scale end at once.
    unsafe {
        global_scale::global_scales::launch_unchecked(
            &client,
            CubeCount::Static(n_scales.div_ceil(CUBE_UNITS as usize) as u32, 1, 1),
            CubeDim::new_1d(CUBE_UNITS),
            words(amax.handle),
            words(out.handle.clone()),
            n_scales,
            divisor,
            arithmetic,
        );
    }
    out
}
