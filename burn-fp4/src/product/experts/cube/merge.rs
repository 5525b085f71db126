//! Codes of a weight with a low-rank delta.

pub(crate) mod kernel;

use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use self::kernel::{Base, MergeShapeLaunch, merge as launch};
use super::super::{ExpertBackend, ExpertRoutes};
use crate::ops::Fp4Primitive;
use crate::ops::cube::buffer::{float_words, words};
use crate::ops::cube::host::{down, up, up_bytes};
use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::quantize::BYTES_PER_WORD;
use crate::product::cube::contiguous;
use crate::product::cube::gemm::product::RouteTensors;
use crate::product::low_rank::LowRankPrimitive;
use crate::product::operand::OperandPrimitive;
use crate::scheme::Fp4Scheme;

/// See [`ExpertBackend::expert_merge`](super::super::ExpertBackend::expert_merge).
pub(super) fn merge(
    base: OperandPrimitive<CubeBackend>,
    delta: LowRankPrimitive<CubeBackend>,
    global_scales: CubeTensor,
    routes: &RouteTensors,
    scheme: &Fp4Scheme,
    format: KernelFormat,
) -> Fp4Primitive<CubeBackend> {
    let [n_experts, d_input, rank] = delta.a.shape().dims();
    let [_, _, d_output] = delta.b.shape().dims();
    assert!(
        d_input.is_multiple_of(scheme.block_size()),
        "expert_merge: {d_input} inputs in blocks of {}",
        scheme.block_size()
    );
    let (client, device) = (delta.a.client.clone(), delta.a.device.clone());
    let n_blocks = n_experts * d_output * d_input / format.block_size;
    let n_words = n_blocks.div_ceil(BYTES_PER_WORD);
    let codes = client.empty((n_blocks * format.block_size / 2).max(BYTES_PER_WORD));
    let scales = client.empty(n_words.max(1) * BYTES_PER_WORD);
    let global_scales = contiguous(global_scales);
    let bytes = |memory, elements_per_byte: usize| {
        let shape = Shape::new([n_experts, d_output, d_input / elements_per_byte]);
        CubeTensor::new_contiguous(client.clone(), device.clone(), shape, memory, DType::U8)
    };
    let merged = Fp4Primitive {
        codes: bytes(codes.clone(), 2),
        scales: bytes(scales.clone(), format.block_size),
        global_scales: global_scales.clone(),
    };
    if n_blocks == 0 {
        return merged;
    }
    let base = BaseTensors::new(base, format.arithmetic);
    let dim = CubeDim::new(&client, n_words);
    // SAFETY: units beyond the last block end at once; positions follow from the shapes, which were compared
    // before.
    unsafe {
        launch::launch_unchecked(
            &client,
            calculate_cube_count_elemwise(&client, n_words, dim),
            dim,
            AddressType::from_len(n_blocks * format.block_size),
            words(base.values.handle.clone()),
            words(base.scales.handle.clone()),
            words(base.global_scales.handle.clone()),
            contiguous(swapped(delta.a)).into_buffer_arg(),
            contiguous(delta.b).into_buffer_arg(),
            words(global_scales.handle.clone()),
            routes.offsets.clone().into_buffer_arg(),
            words(codes),
            words(scales),
            MergeShapeLaunch::new(
                n_blocks,
                d_input,
                d_output,
                rank,
                base.global_scales.meta.num_elements(),
                global_scales.meta.num_elements(),
            ),
            delta.scaling,
            0,
            base.kind,
            format,
        );
    }
    merged
}

/// For scale rules that have no kernel.
pub(super) fn on_host(
    base: OperandPrimitive<CubeBackend>,
    delta: LowRankPrimitive<CubeBackend>,
    global_scales: CubeTensor,
    routes: ExpertRoutes<CubeBackend>,
    scheme: Fp4Scheme,
) -> Fp4Primitive<CubeBackend> {
    let device = delta.a.device.clone();
    let base = match base {
        OperandPrimitive::Dense(weight) => OperandPrimitive::Dense(down(weight)),
        OperandPrimitive::Packed(weight, scheme)
        | OperandPrimitive::Merged(weight, scheme, _)
        | OperandPrimitive::Rounded(weight, scheme, _) => {
            let weight = Fp4Primitive {
                codes: down(weight.codes),
                scales: down(weight.scales),
                global_scales: down(weight.global_scales),
            };
            OperandPrimitive::Packed(weight, scheme)
        }
    };
    let delta = LowRankPrimitive {
        a: down(delta.a),
        b: down(delta.b),
        scaling: delta.scaling,
    };
    let routes = ExpertRoutes {
        order: down(routes.order),
        offsets: down(routes.offsets),
        top_k: routes.top_k,
    };
    let merged = Flex::expert_merge(base, delta, down(global_scales), routes, scheme);
    Fp4Primitive {
        codes: up_bytes(merged.codes, &device),
        scales: up_bytes(merged.scales, &device),
        global_scales: up(merged.global_scales, &device),
    }
}

/// The base as the kernel reads it.
struct BaseTensors {
    values: CubeTensor,
    scales: CubeTensor,
    global_scales: CubeTensor,
    kind: Base,
}

impl BaseTensors {
    fn new(base: OperandPrimitive<CubeBackend>, arithmetic: Arithmetic) -> Self {
        match base {
            OperandPrimitive::Dense(weight) => {
                let kind = Base::Dense(float_words(weight.dtype));
                let values = contiguous(weight);
                Self {
                    scales: values.clone(),
                    global_scales: values.clone(),
                    values,
                    kind,
                }
            }
            OperandPrimitive::Packed(weight, scheme)
            | OperandPrimitive::Merged(weight, scheme, _)
            | OperandPrimitive::Rounded(weight, scheme, _) => Self {
                values: contiguous(weight.codes),
                scales: contiguous(weight.scales),
                global_scales: contiguous(weight.global_scales),
                kind: Base::Packed(KernelFormat::decoding(&scheme, arithmetic)),
            },
        }
    }
}

/// `[experts, rank, in]` from `[experts, in, rank]`.
fn swapped(mut tensor: CubeTensor) -> CubeTensor {
    tensor.meta.swap(1, 2);
    tensor
}
