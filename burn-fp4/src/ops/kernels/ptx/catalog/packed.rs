//! To codes and back.

use cubecl::CubeKernel;
use cubecl::prelude::*;
use kernel_harness::ptx::{BUFFER, device, settings, target};

use super::definitions::{COLUMNS, ROWS, WORDS};
use crate::ops::kernels::dequantize::dequantize::Dequantize;
use crate::ops::kernels::dequantize::{Decoding, PackedRowsCompilationArg};
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::quantize::CODES_PER_WORD;
use crate::ops::kernels::quantize::quantize_columns::QuantizeColumns;
use crate::ops::kernels::quantize::quantize_rows::QuantizeRows;
use crate::ops::kernels::rows::RowSplit;

/// A word of codes of a block to a unit, 64 bytes under way.
pub(super) fn quantize_rows(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    let vectors = CODES_PER_WORD / floats.per_word() / WORDS;
    let split = RowSplit {
        lanes: format.block_size / CODES_PER_WORD,
        vectors,
        in_flight: 4 / vectors,
        pitched: false,
    };
    QuantizeRows::new(
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

pub(super) fn quantize_columns(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    QuantizeColumns::new(
        settings(256),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        COLUMNS,
        (),
        (),
        1,
        format.block_size / CODES_PER_WORD,
        format,
        floats,
    )
    .define()
}

/// A word of codes to a unit, four under way.
pub(super) fn dequantize(format: KernelFormat, floats: FloatWords) -> KernelDefinition {
    let rows = PackedRowsCompilationArg {
        n_vectors: (),
        width: (),
        code_pitch: (),
        scale_pitch: (),
    };
    let decoding = Decoding {
        in_flight: 4,
        pitched: false,
    };
    Dequantize::new(
        settings(256),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        rows,
        (),
        1,
        WORDS,
        decoding,
        format,
        floats,
    )
    .define()
}
