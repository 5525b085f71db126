//! The kernels, each as it is launched on large tensors.

mod definitions;
mod packed;

use kernel_harness::ptx::Kernel;

use crate::ops::kernels::float_words::FloatWords::{BF16, F16, F32};
use definitions::{amax, clip_columns, clip_rows, columns, fp8, global, mx, nv, rows};
use packed::{dequantize, quantize_columns, quantize_rows};

/// Kernels, and what they must do with memory.
#[rustfmt::skip] // A kernel, a line.
pub(super) const KERNELS: &[Kernel] = &[
    Kernel::new("fake_quantize_rows-mxfp4-bf16", || rows(mx(), BF16), [4, 4, 4], [4, 4], 0),
    Kernel::new("fake_quantize_rows-mxfp4-f16", || rows(mx(), F16), [4, 4, 4], [4, 4], 0),
    Kernel::new("fake_quantize_rows-mxfp4-f32", || rows(mx(), F32), [4, 4, 4], [4, 4], 0),
    // Two divisions for each block.
    Kernel::new("fake_quantize_rows-nvfp4-bf16", || rows(nv(), BF16), [8, 4, 5], [4, 4], 8),
    Kernel::new("fake_quantize_columns-mxfp4-bf16", || columns(mx(), BF16), [32, 0, 32], [32, 0], 0),
    Kernel::new("fake_quantize_columns-mxfp4-f32", || columns(mx(), F32), [32, 0, 32], [32, 0], 0),
    Kernel::new("fake_quantize_columns-nvfp4-bf16", || columns(nv(), BF16), [17, 0, 17], [16, 0], 4),
    Kernel::new("clip_gradient_rows-mxfp4-bf16", || clip_rows(mx(), BF16), [8, 8, 2], [4, 4], 0),
    Kernel::new("clip_gradient_columns-mxfp4-bf16", || clip_columns(mx(), BF16), [64, 0, 33], [32, 0], 0),
    Kernel::new("raise_amax-bf16", || amax(BF16), [4, 4, 4], [0, 0], 0),
    Kernel::new("global_scales", global, [1, 0, 1], [1, 0], 1),
    Kernel::new("fp8_fake_quantize-bf16", || fp8(BF16), [2, 1, 2], [1, 1], 2),
    // A word of codes to a unit, and one of scale bytes to four blocks.
    Kernel::new("quantize_rows-mxfp4-bf16", || quantize_rows(mx(), BF16), [4, 4, 4], [8, 0], 0),
    Kernel::new("quantize_rows-mxfp4-f32", || quantize_rows(mx(), F32), [4, 4, 4], [4, 0], 0),
    Kernel::new("quantize_rows-nvfp4-bf16", || quantize_rows(nv(), BF16), [8, 4, 5], [8, 0], 8),
    Kernel::new("quantize_columns-mxfp4-bf16", || quantize_columns(mx(), BF16), [32, 0, 32], [2, 2], 0),
    Kernel::new("dequantize-mxfp4-bf16", || dequantize(mx(), BF16), [8, 0, 8], [4, 4], 0),
    Kernel::new("dequantize-mxfp4-f32", || dequantize(mx(), F32), [8, 0, 8], [8, 8], 0),
    Kernel::new("dequantize-nvfp4-bf16", || dequantize(nv(), BF16), [12, 0, 9], [4, 4], 0),
];
