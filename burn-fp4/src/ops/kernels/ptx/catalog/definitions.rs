//! The arguments of kernels, and the kernels from floats to floats.

use cubecl::CubeKernel;
use cubecl::prelude::*;
use kernel_harness::ptx::{BUFFER, device, settings, target};

use crate::ops::kernels::amax::{AmaxRowsCompilationArg, raise_amax};
use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::clip_gradient::{clip_gradient_columns, clip_gradient_rows};
use crate::ops::kernels::columns::ColumnsCompilationArg;
use crate::ops::kernels::fake_quantize::{fake_quantize_columns, fake_quantize_rows};
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::fp8::fp8_fake_quantize;
use crate::ops::kernels::global_scale::global_scales;
use crate::ops::kernels::rows::{RowSplit, RowsCompilationArg};
use crate::scheme::Fp4Scheme;

/// Words of a vector of 16 bytes.
pub(super) const WORDS: usize = 4;

pub(super) fn mx() -> KernelFormat {
    format(&Fp4Scheme::mxfp4())
}

pub(super) fn nv() -> KernelFormat {
    format(&Fp4Scheme::nvfp4())
}

fn format(scheme: &Fp4Scheme) -> KernelFormat {
    KernelFormat::quantizing(scheme, Arithmetic::Float).expect("the default rule has a kernel")
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

pub(super) const ROWS: RowsCompilationArg = RowsCompilationArg {
    n_blocks: (),
    blocks: (),
    pitch: (),
};

pub(super) const COLUMNS: ColumnsCompilationArg = ColumnsCompilationArg {
    outer: (),
    slab: (),
    blocks: (),
    stride: (),
    height: (),
    pitch: (),
    width: (),
};

pub(super) fn rows(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    let split = split(format, floats);
    fake_quantize_rows::FakeQuantizeRows::new(
        settings(256),
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

pub(super) fn columns(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    fake_quantize_columns::FakeQuantizeColumns::new(
        settings(256),
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

pub(super) fn clip_rows(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    let split = split(format, floats);
    clip_gradient_rows::ClipGradientRows::new(
        settings(256),
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

pub(super) fn clip_columns(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    clip_gradient_columns::ClipGradientColumns::new(
        settings(256),
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

pub(super) fn amax(floats: FloatWords) -> KernelDefinition {
    let rows = AmaxRowsCompilationArg {
        n_vectors: (),
        width: (),
        pitch: (),
    };
    raise_amax::RaiseAmax::new(
        settings(256),
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

pub(super) fn global() -> KernelDefinition {
    global_scales::GlobalScales::new(
        settings(256),
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

pub(super) fn fp8(floats: FloatWords) -> KernelDefinition {
    fp8_fake_quantize::Fp8FakeQuantize::new(
        settings(256),
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
