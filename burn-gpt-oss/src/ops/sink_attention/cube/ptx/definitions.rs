//! Kernels with their arguments.

use cubecl::CubeKernel;
use cubecl::prelude::*;
use kernel_harness::ptx::{BUFFER, device, settings, target};

use super::super::geometry::GeometryCompilationArg;
use super::super::mma::{self, MmaSplit};
use super::super::rows::{self, RowSplit, Side};
use super::super::statistics::{SumSplit, sink_parts, sink_sums, statistics};

const GEOMETRY: GeometryCompilationArg = GeometryCompilationArg {
    len: (),
    keys: (),
    kv_heads: (),
    group: (),
    first_query: (),
    window: (),
    scale: (),
};

pub(super) fn attend_mma(float: ElemType, split: MmaSplit) -> KernelDefinition {
    mma::attend_mma::AttendMma::new(
        settings(split.units()),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        split,
        float,
    )
    .define()
}

pub(super) fn query_gradient_mma(float: ElemType, split: MmaSplit) -> KernelDefinition {
    mma::query_gradient_mma::QueryGradientMma::new(
        settings(split.units()),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        split,
        float,
    )
    .define()
}

pub(super) fn key_gradient_mma(float: ElemType, split: MmaSplit) -> KernelDefinition {
    mma::key_gradient_mma::KeyGradientMma::new(
        settings(split.units()),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        split,
        float,
    )
    .define()
}

pub(super) fn attend_rows(float: ElemType, split: RowSplit) -> KernelDefinition {
    rows::attend_rows::AttendRows::new(
        settings(split.units),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        split,
        float,
    )
    .define()
}

pub(super) fn query_gradient_rows(float: ElemType, split: RowSplit) -> KernelDefinition {
    rows::query_gradient_rows::QueryGradientRows::new(
        settings(split.units),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        split,
        float,
    )
    .define()
}

pub(super) fn key_gradient_rows(float: ElemType, split: RowSplit, side: Side) -> KernelDefinition {
    rows::key_gradient_rows::KeyGradientRows::new(
        settings(split.units),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        side,
        split,
        float,
    )
    .define()
}

pub(super) fn sums(float: ElemType) -> [(&'static str, KernelDefinition); 3] {
    let split = |terms, lanes| SumSplit {
        terms,
        lanes,
        units: 128,
        native: false,
    };
    let settings = || settings(128);
    let rows = statistics::Statistics::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        split(16, 16),
        float,
    );
    let parts = sink_parts::SinkParts::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        split(32, 1),
    );
    let sums = sink_sums::SinkSums::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        (),
        (),
        split(1, 32),
    );
    [
        ("statistics", rows.define()),
        ("sink_parts", parts.define()),
        ("sink_sums", sums.define()),
    ]
}
