//! Tensors and sizes of one call, and how a device works on them.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::tensor::{DType, FloatDType, IntDType};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::features::MmaConfig;
use cubecl::ir::FloatKind;
use cubecl::prelude::*;

use super::super::extension::{AttentionInputs, AttentionOptions, KeySegments};
use super::geometry::GeometryLaunch;
use super::mma::{DIM, MmaSplit, PLANE};
use super::rows::RowSplit;
use super::statistics::SumSplit;
use burn_fp4::backend::cube::{Hardware, contiguous};

/// Rows, and units, of a cube where a unit has a row.
const UNITS: usize = 64;
/// Rows of the other side in shared memory, at most.
const TILE: usize = 32;
/// Cubes along an axis of the grid that every runtime has.
const MAX_CUBES: usize = 65_535;

/// Inputs as kernels read them.
pub(super) struct Problem {
    pub query: CubeTensor,
    pub key: CubeTensor,
    pub value: CubeTensor,
    /// f32
    pub sinks: CubeTensor,
    /// i32
    pub segments: Option<CubeTensor>,
    pub batch: usize,
    pub len: usize,
    pub keys: usize,
    pub kv_heads: usize,
    pub group: usize,
    pub dim: usize,
    pub dtype: DType,
    options: AttentionOptions,
    pub hardware: Hardware,
}

impl Problem {
    pub fn new(
        inputs: AttentionInputs<CubeBackend>,
        segments: KeySegments<CubeBackend>,
        options: AttentionOptions,
    ) -> Self {
        let [batch, len, heads, dim] = inputs.query.shape().dims();
        let [_, keys, kv_heads, _] = inputs.key.shape().dims();
        assert!(
            dim.is_multiple_of(4),
            "attention: head_dim {dim} is not a multiple of 4"
        );
        let segments = match segments {
            KeySegments::One => None,
            KeySegments::Numbered { numbers } => {
                Some(contiguous(CubeBackend::int_cast(numbers, IntDType::I32)))
            }
        };
        Self {
            dtype: inputs.query.dtype,
            hardware: Hardware::of(&inputs.query.client),
            query: contiguous(inputs.query),
            key: contiguous(inputs.key),
            value: contiguous(inputs.value),
            sinks: contiguous(CubeBackend::float_cast(inputs.sinks, FloatDType::F32)),
            segments,
            batch,
            len,
            keys,
            kv_heads,
            group: heads / kv_heads,
            dim,
            options,
        }
    }

    pub fn client(&self) -> Client {
        self.query.client.clone()
    }

    pub fn heads(&self) -> usize {
        self.kv_heads * self.group
    }

    /// Queries of all heads of the batch.
    pub fn rows(&self) -> usize {
        self.batch * self.len * self.heads()
    }

    pub fn elem_type(&self) -> ElemType {
        dtype_to_elem_type(self.dtype)
    }

    pub fn geometry(&self) -> GeometryLaunch {
        GeometryLaunch::new(
            self.len,
            self.keys,
            self.kv_heads,
            self.group,
            self.options.first_query,
            // A window of all keys hides none.
            self.options.window.unwrap_or(self.keys).min(self.keys),
            self.options.scale,
        )
    }

    /// The argument for the numbers of documents; without them something that nothing reads.
    pub fn segments(&self) -> BufferArg {
        let tensor = self.segments.as_ref().unwrap_or(&self.sinks);
        tensor.clone().into_buffer_arg()
    }

    /// Wide enough for every index.
    pub fn address_type(&self) -> AddressType {
        let keys = self.batch * self.keys * self.kv_heads;
        AddressType::from_len(self.rows().max(keys) * self.dim)
    }

    /// Whether to use the exponential of the runtime.
    fn native(&self) -> bool {
        self.query.client.name() != "cuda"
    }

    /// Whether tensor cores do it.
    pub fn on_tensor_cores(&self) -> bool {
        let client = self.client();
        let matmul = &client.properties().features.matmul;
        let float = self.elem_type();
        let product = MmaConfig {
            a_type: float,
            b_type: float,
            cd_type: ElemType::Float(FloatKind::F32),
            m: 16,
            n: 8,
            k: 16,
        };
        client.name() == "cuda"
            && self.dim == DIM
            && self.dtype.size() == 2
            && self.hardware.plane == PLANE
            && matmul.mma.contains(&product)
            && matmul.ldmatrix.contains(&float)
            // The largest product must be the largest score.
            && self.options.scale > 0.0
    }

    /// Planes of a cube, bands of each, and rows of the other side in shared memory.
    pub fn mma_split(&self, [planes, bands, tile]: [usize; 3]) -> MmaSplit {
        MmaSplit {
            planes,
            bands,
            group: self.group,
            tile,
            segmented: self.segments.is_some(),
        }
    }

    pub fn row_split(&self) -> RowSplit {
        let row = 2 * self.dim * self.dtype.size();
        let rows = (self.hardware.shared_bytes / row).clamp(1, TILE);
        RowSplit {
            vectors: self.dim / 4,
            units: UNITS.min(self.hardware.max_units),
            tile: match self.hardware.shared_memory {
                true => 1 << rows.ilog2(),
                false => 0,
            },
            segmented: self.segments.is_some(),
            native: self.native(),
        }
    }

    /// Cubes for `rows` of every key head.
    pub fn row_cubes(&self, rows: usize, of_cube: usize) -> CubeCount {
        CubeCount::Static(
            rows.div_ceil(of_cube) as u32,
            self.kv_heads as u32,
            self.batch as u32,
        )
    }

    /// For sums of `terms` each; without planes every unit has sums of its own.
    pub fn sum_split(&self, terms: usize, lanes: usize) -> SumSplit {
        SumSplit {
            terms,
            lanes: lanes.min(self.hardware.plane),
            units: 128.min(self.hardware.max_units),
            native: self.native(),
        }
    }
}

/// Cubes for so many units.
pub(super) fn sum_cubes(units: usize, split: &SumSplit) -> CubeCount {
    let cubes = units.div_ceil(split.units);
    let height = cubes.div_ceil(MAX_CUBES);
    CubeCount::Static(cubes.div_ceil(height) as u32, height as u32, 1)
}
