//! The kernels, each as it is launched on large tensors.

use std::sync::Arc;

use cubecl::CubeKernel;
use cubecl::prelude::*;

use super::assembly::Traffic;
use super::device;
use crate::Fp4Scheme;
use crate::kernels::amax::{AmaxRowsCompilationArg, raise_amax};
use crate::kernels::arithmetic::Arithmetic;
use crate::kernels::clip_gradient::{clip_gradient_columns, clip_gradient_rows};
use crate::kernels::columns::ColumnsCompilationArg;
use crate::kernels::fake_quantize::{fake_quantize_columns, fake_quantize_rows};
use crate::kernels::float_words::FloatWords::{self, BF16, F16, F32};
use crate::kernels::format::KernelFormat;
use crate::kernels::fp8::fp8_fake_quantize;
use crate::kernels::global_scale::global_scales;
use crate::kernels::rows::{RowSplit, RowsCompilationArg};

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
    // Two divisions for each block; those of elements are off the usual path.
    kernel("fake_quantize_rows-nvfp4-bf16", || rows(nv(), BF16), [8, 4, 5], [4, 4], 40),
    kernel("fake_quantize_columns-mxfp4-bf16", || columns(mx(), BF16), [32, 0, 32], [32, 0], 0),
    kernel("fake_quantize_columns-mxfp4-f32", || columns(mx(), F32), [32, 0, 32], [32, 0], 0),
    kernel("fake_quantize_columns-nvfp4-bf16", || columns(nv(), BF16), [17, 0, 17], [16, 0], 36),
    kernel("clip_gradient_rows-mxfp4-bf16", || clip_rows(mx(), BF16), [8, 8, 2], [4, 4], 0),
    kernel("clip_gradient_columns-mxfp4-bf16", || clip_columns(mx(), BF16), [64, 0, 33], [32, 0], 0),
    kernel("raise_amax-bf16", || amax(BF16), [4, 4, 4], [0, 0], 0),
    kernel("global_scales", global, [1, 0, 1], [1, 0], 1),
    kernel("fp8_fake_quantize-bf16", || fp8(BF16), [2, 1, 2], [1, 1], 2),
];

const BUFFER: BufferCompilationArg = BufferCompilationArg { inplace: None };
/// Words of a vector of 16 bytes.
const WORDS: usize = 4;

fn settings() -> KernelSettings {
    KernelSettings::new(
        *CubeDim::new_1d(256),
        ExecutionMode::Unchecked,
        AddressType::U32,
    )
}

fn target() -> Arc<TargetProperties> {
    Arc::new(TargetProperties::default())
}

fn mx() -> KernelFormat {
    KernelFormat::decoding(&Fp4Scheme::mxfp4(), Arithmetic::Float)
}

fn nv() -> KernelFormat {
    KernelFormat::decoding(&Fp4Scheme::nvfp4(), Arithmetic::Float)
}

/// One vector of a block to a unit.
fn split(format: KernelFormat, floats: FloatWords) -> RowSplit {
    RowSplit {
        lanes: format.block_size / floats.per_word() / WORDS,
        vectors: 1,
        in_flight: 4,
        pitched: false,
    }
}

const ROWS: RowsCompilationArg = RowsCompilationArg {
    n_blocks: (),
    blocks: (),
    pitch: (),
};

const COLUMNS: ColumnsCompilationArg = ColumnsCompilationArg {
    outer: (),
    slab: (),
    blocks: (),
    stride: (),
    height: (),
    pitch: (),
    width: (),
};

fn rows(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    let split = split(format, floats);
    fake_quantize_rows::FakeQuantizeRows::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        ROWS,
        (),
        WORDS,
        split,
        format,
        floats,
    )
    .define()
}

fn columns(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    fake_quantize_columns::FakeQuantizeColumns::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        COLUMNS,
        (),
        1,
        format,
        floats,
    )
    .define()
}

fn clip_rows(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    let split = split(format, floats);
    clip_gradient_rows::ClipGradientRows::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        ROWS,
        (),
        WORDS,
        split,
        format,
        floats,
    )
    .define()
}

fn clip_columns(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    clip_gradient_columns::ClipGradientColumns::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        COLUMNS,
        (),
        1,
        format,
        floats,
    )
    .define()
}

fn amax(floats: FloatWords) -> KernelDefinition {
    let rows = AmaxRowsCompilationArg {
        n_vectors: (),
        width: (),
        pitch: (),
    };
    raise_amax::RaiseAmax::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        rows,
        WORDS,
        true,
        floats,
    )
    .define()
}

fn global() -> KernelDefinition {
    global_scales::GlobalScales::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        (),
        2688f32.to_bits(),
        Arithmetic::Float,
    )
    .define()
}

fn fp8(floats: FloatWords) -> KernelDefinition {
    fp8_fake_quantize::Fp8FakeQuantize::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        (),
        WORDS,
        Arithmetic::Float,
        floats,
    )
    .define()
}
