//! Products on tensor cores, in all forms.

use std::sync::Arc;

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_fp4::Fp4Scheme;
use cubecl::CubeKernel;
use cubecl::features::MmaConfig;
use cubecl::prelude::*;

use super::{BUFFER, compile, device, settings, target};
use crate::ops::cube::gemm::plane_tiles::PlaneTiles;
use crate::ops::cube::gemm::{
    GemmKind, GemmShapeCompilationArg, Grouping, PackedFormat, PlaneTile,
};

const SHAPE: GemmShapeCompilationArg = GemmShapeCompilationArg {
    n_rows: (),
    n_columns: (),
    n_terms: (),
    n_experts: (),
    lhs_pitch: (),
    rhs_pitch: (),
    rhs_rows: (),
    scale_pitch: (),
    n_global_scales: (),
};

const LARGE: PlaneTile = PlaneTile {
    planes: (2, 4),
    fragments: (4, 4),
};

const MEDIUM: PlaneTile = PlaneTile {
    planes: (2, 2),
    fragments: (4, 4),
};

/// `[T, k] x [k, n]`, gathered rows.
const FORWARD: GemmKind = GemmKind {
    grouping: Grouping::Rows,
    lhs_rows: true,
    rhs_terms: true,
    lhs_top_k: Some(4),
    rhs_top_k: None,
    tail: false,
};

/// `[T, n] x [k, n]^T`
const BACKWARD: GemmKind = GemmKind {
    rhs_terms: false,
    lhs_top_k: None,
    ..FORWARD
};

/// `[T, k]^T x [T, n]` of every expert.
const WEIGHT: GemmKind = GemmKind {
    grouping: Grouping::Terms,
    lhs_rows: false,
    rhs_terms: true,
    lhs_top_k: Some(4),
    rhs_top_k: None,
    tail: true,
};

/// The same with scores.
const SCORED: GemmKind = GemmKind {
    lhs_top_k: None,
    rhs_top_k: Some(4),
    ..WEIGHT
};

#[test]
fn products_compile_to_matrix_instructions() {
    let mx = PackedFormat::of(&Fp4Scheme::mxfp4());
    let nv = PackedFormat::of(&Fp4Scheme::nvfp4());
    let cases = [
        ("gemm-forward-128x256", FORWARD, LARGE, None),
        ("gemm-forward-128x128", FORWARD, MEDIUM, None),
        ("gemm-backward-128x256", BACKWARD, LARGE, None),
        ("gemm-weight-128x256", WEIGHT, LARGE, None),
        ("gemm-weight-scored-128x256", SCORED, LARGE, None),
        ("gemm-forward-mxfp4-128x256", BACKWARD, LARGE, Some(mx)),
        ("gemm-backward-mxfp4-128x256", FORWARD, LARGE, Some(mx)),
        ("gemm-forward-nvfp4-128x256", BACKWARD, LARGE, Some(nv)),
    ];
    for (name, kind, tile, format) in cases {
        let definition = definition(kind, tile, format, name.contains("scored"));
        let ptx = compile(name, definition, 90);
        let count = |what: &str| ptx.lines().filter(|line| line.contains(what)).count();
        println!(
            "{name:<32} mma {} ld.global {} wide {} st.shared {} st.global {}",
            count("wmma.mma"),
            count("ld.global"),
            count("ld.global.nc.v4") + count("ld.global.v4"),
            count("st.shared"),
            count("st.global"),
        );
        assert!(!ptx.contains(".local"), "{name}: local memory");
        // Terms in shared memory are those of two.
        let instructions = tile.fragments.0 * tile.fragments.1 * 2;
        assert_eq!(
            count("wmma.mma"),
            instructions,
            "{name}: matrix instructions"
        );
    }
}

fn definition(
    kind: GemmKind,
    tile: PlaneTile,
    format: Option<PackedFormat>,
    scored: bool,
) -> KernelDefinition {
    let gathers = scored || kind.lhs_top_k.is_some() || kind.rhs_top_k.is_some();
    PlaneTiles::new(
        settings(tile.n_units()),
        tensor_core_device(),
        target(),
        BUFFER,
        when(format.is_none()),
        when(format.is_some()),
        when(format.is_some()),
        when(format.is_some_and(|format| format.e4m3)),
        when(gathers),
        when(true),
        when(kind.grouping == Grouping::Rows),
        when(scored),
        BUFFER,
        SHAPE,
        kind,
        tile,
        format,
        dtype_to_elem_type(DType::BF16),
        dtype_to_elem_type(DType::BF16),
    )
    .define()
}

/// A buffer that is not always there.
fn when<T>(condition: bool) -> ComptimeOptionCompilationArg<T>
where
    T: LaunchArg<CompilationArg = BufferCompilationArg>,
{
    match condition {
        true => ComptimeOptionCompilationArg::Some(BUFFER),
        false => ComptimeOptionCompilationArg::None,
    }
}

fn tensor_core_device() -> Arc<DeviceProperties> {
    let mut device = (*device()).clone();
    device.features.matmul.cmma.insert(MmaConfig {
        a_type: dtype_to_elem_type(DType::BF16),
        b_type: dtype_to_elem_type(DType::BF16),
        cd_type: dtype_to_elem_type(DType::F32),
        m: 16,
        n: 16,
        k: 16,
    });
    Arc::new(device)
}
