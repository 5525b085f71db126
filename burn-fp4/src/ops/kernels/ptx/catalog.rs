//! The kernels, each as it is launched on large tensors.

mod definitions;
mod packed;
mod products;

use cubecl::prelude::*;

use super::assembly::Traffic;
use crate::ops::kernels::float_words::FloatWords::{BF16, F16, F32};
use definitions::{amax, clip_columns, clip_rows, columns, fp8, global, mx, nv, rows};
use packed::{dequantize, quantize_columns, quantize_rows};
use products::{count_rows, gemm, gemv, gemv_backward, order_rows};

pub(super) struct Kernel {
    pub name: &'static str,
    pub definition: fn() -> KernelDefinition,
    pub traffic: Traffic,
}

/// One line of the list. `loads`: all, those of 16 bytes, those ahead of the first store; `stores`:
/// all, those of 16 bytes.
const fn kernel(
    name: &'static str,
    definition: fn() -> KernelDefinition,
    [loads, wide_loads, ahead]: [usize; 3],
    [stores, wide_stores]: [usize; 2],
    divisions: usize,
) -> Kernel {
    let traffic = Traffic {
        loads,
        wide_loads,
        ahead,
        stores,
        wide_stores,
        divisions,
    };
    Kernel {
        name,
        definition,
        traffic,
    }
}

/// Kernels, and what they must do with memory.
#[rustfmt::skip] // A kernel, a line.
pub(super) const KERNELS: &[Kernel] = &[
    kernel("fake_quantize_rows-mxfp4-bf16", || rows(mx(), BF16), [4, 4, 4], [4, 4], 0),
    kernel("fake_quantize_rows-mxfp4-f16", || rows(mx(), F16), [4, 4, 4], [4, 4], 0),
    kernel("fake_quantize_rows-mxfp4-f32", || rows(mx(), F32), [4, 4, 4], [4, 4], 0),
    // Two divisions for each block.
    kernel("fake_quantize_rows-nvfp4-bf16", || rows(nv(), BF16), [8, 4, 5], [4, 4], 8),
    kernel("fake_quantize_columns-mxfp4-bf16", || columns(mx(), BF16), [32, 0, 32], [32, 0], 0),
    kernel("fake_quantize_columns-mxfp4-f32", || columns(mx(), F32), [32, 0, 32], [32, 0], 0),
    kernel("fake_quantize_columns-nvfp4-bf16", || columns(nv(), BF16), [17, 0, 17], [16, 0], 4),
    kernel("clip_gradient_rows-mxfp4-bf16", || clip_rows(mx(), BF16), [8, 8, 2], [4, 4], 0),
    kernel("clip_gradient_columns-mxfp4-bf16", || clip_columns(mx(), BF16), [64, 0, 33], [32, 0], 0),
    kernel("raise_amax-bf16", || amax(BF16), [4, 4, 4], [0, 0], 0),
    kernel("global_scales", global, [1, 0, 1], [1, 0], 1),
    kernel("fp8_fake_quantize-bf16", || fp8(BF16), [2, 1, 2], [1, 1], 2),
    // A word of codes to a unit, and one of scale bytes to four blocks.
    kernel("quantize_rows-mxfp4-bf16", || quantize_rows(mx(), BF16), [4, 4, 4], [8, 0], 0),
    kernel("quantize_rows-mxfp4-f32", || quantize_rows(mx(), F32), [4, 4, 4], [4, 0], 0),
    kernel("quantize_rows-nvfp4-bf16", || quantize_rows(nv(), BF16), [8, 4, 5], [8, 0], 8),
    kernel("quantize_columns-mxfp4-bf16", || quantize_columns(mx(), BF16), [32, 0, 32], [2, 2], 0),
    kernel("dequantize-mxfp4-bf16", || dequantize(mx(), BF16), [8, 0, 8], [4, 4], 0),
    kernel("dequantize-mxfp4-f32", || dequantize(mx(), F32), [8, 0, 8], [8, 8], 0),
    kernel("dequantize-nvfp4-bf16", || dequantize(nv(), BF16), [12, 0, 9], [4, 4], 0),
    // Narrow are the loads of scales; outputs are two to a word.
    kernel("gemv-mxfp4-bf16-1", || gemv(mx(), BF16, 1), [12, 8, 12], [2, 0], 0),
    kernel("gemv-mxfp4-bf16-4", || gemv(mx(), BF16, 4), [20, 18, 20], [4, 0], 0),
    kernel("gemv-mxfp4-bf16-16", || gemv(mx(), BF16, 16), [68, 66, 68], [16, 0], 0),
    kernel("gemv-nvfp4-bf16-1", || gemv(nv(), BF16, 1), [20, 8, 20], [2, 0], 0),
    kernel("gemv_backward-mxfp4-bf16-4", || gemv_backward(mx(), BF16, 4), [6, 0, 6], [16, 0], 0),
    kernel("gemm-mxfp4-bf16", || gemm(mx(), BF16, false), [12, 0, 12], [32, 0], 0),
    kernel("gemm_backward-mxfp4-bf16", || gemm(mx(), BF16, true), [6, 0, 6], [32, 0], 0),
    kernel("count_rows", count_rows, [1, 0, 1], [1, 0], 0),
    kernel("order_rows", order_rows, [11, 0, 11], [1, 0], 0),
];
