//! The kernels that take one pass where plain tensors take many, for rows of gpt-oss.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use cubecl::CubeKernel;
use cubecl::prelude::*;

use super::{BUFFER, Kernel, check, device, settings, target};
use crate::ops::cube::Team;
use crate::ops::embedding::cube::kernels::{gather, sum_rows};
use crate::ops::next_token_loss::cube::kernels::{logits_gradient, loss_of_rows};
use crate::ops::rms_norm::cube::kernels::backward::gradients_of_rows;
use crate::ops::rms_norm::cube::kernels::forward::normalize;
use crate::ops::rotary::cube::kernels::rotate;
use crate::ops::swiglu::cube::kernels::{backward, forward};

const KERNELS: [Kernel; 9] = [
    Kernel {
        name: "swiglu-bf16",
        definition: swiglu,
        wide: [1, 0],
    },
    Kernel {
        name: "swiglu_backward-bf16",
        definition: swiglu_backward,
        wide: [1, 1],
    },
    Kernel {
        name: "rms_norm-bf16",
        definition: rms_norm,
        wide: [4, 1],
    },
    Kernel {
        name: "rms_norm_gradients-bf16",
        definition: rms_norm_gradients,
        wide: [8, 6],
    },
    Kernel {
        name: "next_token_loss",
        definition: next_token_loss,
        wide: [2, 0],
    },
    Kernel {
        name: "next_token_loss_gradient-bf16",
        definition: next_token_loss_gradient,
        wide: [1, 0],
    },
    Kernel {
        name: "rotary-bf16",
        definition: rotary,
        wide: [4, 2],
    },
    Kernel {
        name: "embedding-bf16",
        definition: embedding,
        wide: [1, 1],
    },
    Kernel {
        name: "embedding_gradient-bf16",
        definition: embedding_gradient,
        wide: [5, 1],
    },
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
