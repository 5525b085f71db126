//! Products on tensor cores, in all forms.

use std::sync::Arc;

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use cubecl::CubeKernel;
use cubecl::features::MmaConfig;
use cubecl::prelude::*;

use kernel_harness::ptx::{BUFFER, compile, device, has_local_memory, settings, target};

use super::{SHAPE, when};
use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::format::{BlockScales, KernelFormat};
use crate::product::cube::gemm::geometry::{GemmKind, Grouping};
use crate::product::cube::gemm::plane_tile::PlaneTile;
use crate::product::cube::gemm::tensor_cores::plane_tiles::PlaneTiles;
use crate::scheme::Fp4Scheme;

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
    let mx = KernelFormat::decoding(&Fp4Scheme::mxfp4(), Arithmetic::Float);
    let nv = KernelFormat::decoding(&Fp4Scheme::nvfp4(), Arithmetic::Float);
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
        assert!(!has_local_memory(&ptx), "{name}: local memory");
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
    format: Option<KernelFormat>,
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
        when(format.is_some_and(|format| format.scales == BlockScales::Nv)),
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
