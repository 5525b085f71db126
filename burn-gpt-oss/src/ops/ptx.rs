//! The kernels that take one pass where plain tensors take many, for rows of gpt-oss.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use cubecl::CubeKernel;
use cubecl::prelude::*;
use kernel_harness::ptx::{BUFFER, Kernel, check, device, settings, target};

use crate::ops::embedding::cube::kernels::{gather, sum_rows};
use crate::ops::next_token_loss::cube::kernels::{logits_gradient, loss_of_rows};
use crate::ops::rms_norm::cube::kernels::backward::gradients_of_rows;
use crate::ops::rms_norm::cube::kernels::forward::normalize;
use crate::ops::rotary::cube::kernels::rotate;
use crate::ops::swiglu::cube::kernels::{backward, forward};
use burn_fp4::backend::cube::Team;

#[rustfmt::skip] // A kernel, a line.
const KERNELS: [Kernel; 9] = [
    Kernel::new("swiglu-bf16", swiglu, [1, 1, 1], [1, 0], 4),
    Kernel::new("swiglu_backward-bf16", swiglu_backward, [2, 1, 2], [1, 1], 4),
    Kernel::new("rms_norm-bf16", rms_norm, [4, 4, 4], [2, 1], 2),
    Kernel::new("rms_norm_gradients-bf16", rms_norm_gradients, [9, 8, 9], [6, 6], 1),
    Kernel::new("next_token_loss", next_token_loss, [5, 2, 5], [3, 0], 2),
    Kernel::new("next_token_loss_gradient-bf16", next_token_loss_gradient, [5, 1, 5], [1, 0], 0),
    Kernel::new("rotary-bf16", rotary, [4, 4, 4], [2, 2], 0),
    Kernel::new("embedding-bf16", embedding, [2, 1, 2], [1, 1], 0),
    Kernel::new("embedding_gradient-bf16", embedding_gradient, [12, 5, 12], [1, 1], 0),
];

#[test]
fn fused_kernels_compile_to_wide_loads() {
    check(&KERNELS);
}

fn bf16() -> ElemType {
    dtype_to_elem_type(DType::BF16)
}

/// 2880 channels of 16 bits, 8 to a vector: two turns.
fn team() -> Team {
    Team::of_planes(192)
}

fn swiglu() -> KernelDefinition {
    forward::Forward::new(
        settings(256),
        device(),
        target(),
        BUFFER,
        BUFFER,
        (),
        (),
        (),
        8,
        4,
        bf16(),
    )
    .define()
}

fn swiglu_backward() -> KernelDefinition {
    backward::Backward::new(
        settings(256),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        (),
        8,
        4,
        bf16(),
    )
    .define()
}

fn rms_norm() -> KernelDefinition {
    normalize::Normalize::new(
        settings(192),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        (),
        (),
        8,
        team(),
        bf16(),
    )
    .define()
}

fn rms_norm_gradients() -> KernelDefinition {
    gradients_of_rows::GradientsOfRows::new(
        settings(192),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        (),
        (),
        8,
        2,
        team(),
        bf16(),
    )
    .define()
}

fn next_token_loss() -> KernelDefinition {
    loss_of_rows::LossOfRows::new(
        settings(512),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        (),
        4,
        4096,
        Team::of_planes(512),
    )
    .define()
}

fn next_token_loss_gradient() -> KernelDefinition {
    logits_gradient::LogitsGradient::new(
        settings(256),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        (),
        (),
        4,
        bf16(),
    )
    .define()
}

/// Heads of 64 channels.
fn rotary() -> KernelDefinition {
    rotate::Rotate::new(
        settings(256),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        (),
        8,
        4,
        bf16(),
    )
    .define()
}

fn embedding() -> KernelDefinition {
    gather::Gather::new(
        settings(256),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        (),
        8,
        bf16(),
    )
    .define()
}

fn embedding_gradient() -> KernelDefinition {
    sum_rows::SumRows::new(
        settings(256),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        8,
        bf16(),
    )
    .define()
}
