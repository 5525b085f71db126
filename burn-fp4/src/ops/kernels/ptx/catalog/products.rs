//! Products with packed weights.

use cubecl::CubeKernel;
use cubecl::prelude::*;

use super::super::device;
use super::definitions::{BUFFER, WORDS, settings, target};
use crate::ops::kernels::experts::{count_rows::CountRows, order_rows::OrderRows};
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::gemm::gemm::Gemm;
use crate::ops::kernels::gemm::{GemmKind, GemmRowsCompilationArg, GemmTile};
use crate::ops::kernels::gemv::gemv::Gemv;
use crate::ops::kernels::gemv::{GemvRowsCompilationArg, GemvSplit};
use crate::ops::kernels::gemv_backward::GradientRowsCompilationArg;
use crate::ops::kernels::gemv_backward::gemv_backward::GemvBackward;
use crate::ops::kernels::packed_weight::PackedWeightCompilationArg;

const WEIGHT: PackedWeightCompilationArg = PackedWeightCompilationArg {
    experts: (),
    d_output: (),
    d_input: (),
    code_pitch: (),
    scale_pitch: (),
    rows_per_global_scale: (),
};

/// A plane to the outputs of `rows` rows.
pub(super) fn gemv(format: KernelFormat, floats: FloatWords, rows: usize) -> KernelDefinition {
    let split = GemvSplit {
        lanes: 32,
        units: 128,
        outputs: if rows > 2 { 2 } else { 4 },
        rows,
        planes: true,
        indexed: false,
    };
    let geometry = GemvRowsCompilationArg {
        n_rows: (),
        pitch: (),
        output_pitch: (),
    };
    Gemv::new(
        settings(128),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        geometry,
        WEIGHT,
        WORDS,
        WORDS,
        split,
        format,
        floats,
    )
    .define()
}

pub(super) fn gemv_backward(
    format: KernelFormat,
    floats: FloatWords,
    rows: usize,
) -> KernelDefinition {
    let geometry = GradientRowsCompilationArg {
        n_rows: (),
        pitch: (),
        output_pitch: (),
    };
    GemvBackward::new(
        settings(128),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        geometry,
        WEIGHT,
        rows,
        false,
        format,
        floats,
    )
    .define()
}

/// The tile for many rows, 128 by 128.
pub(super) fn gemm(format: KernelFormat, floats: FloatWords, backward: bool) -> KernelDefinition {
    let tile = GemmTile {
        units: (16, 16),
        vectors: (2, 2),
        depth: 32,
    };
    let kind = GemmKind {
        backward,
        indexed: false,
    };
    let geometry = GemmRowsCompilationArg {
        n_rows: (),
        pitch: (),
        output_pitch: (),
    };
    Gemm::new(
        settings(tile.n_units() as u32),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        geometry,
        WEIGHT,
        tile,
        kind,
        format,
        floats,
    )
    .define()
}

pub(super) fn count_rows() -> KernelDefinition {
    CountRows::new(
        settings(256),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
    )
    .define()
}

pub(super) fn order_rows() -> KernelDefinition {
    OrderRows::new(
        settings(256),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
    )
    .define()
}
