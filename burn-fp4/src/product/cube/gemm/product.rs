//! A product of matrices, and which kernel is for it.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::features::MmaConfig;

use super::geometry::{GemmKind, Grouping};
use super::operands::{Dense, Right};
use super::plane_tile::{FRAGMENT, PLANE, PlaneTile};
use super::shared::UnitTile;
use super::stage::{DEPTH, VECTOR};
use crate::product::cube::few_rows::FewRows;
use crate::product::cube::{Hardware, empty, zeros};

/// Which rows are whose.
#[derive(Clone)]
pub(crate) struct RouteTensors {
    /// `[rows]`, 32-bit integers.
    pub order: CubeTensor,
    /// `[experts + 1]`, 32-bit integers.
    pub offsets: CubeTensor,
    pub n_experts: usize,
    pub n_rows: usize,
    pub top_k: usize,
}

/// A product and its operands.
pub(crate) struct Product {
    pub lhs: Dense,
    /// Whether rows of the left factor in memory are those of the output. Else they are terms.
    pub lhs_rows: bool,
    /// Whether the left factor has a row per token instead of one per choice.
    pub lhs_gathered: bool,
    pub rhs: Right,
    /// Whether rows of the right factor in memory are terms. Else they are columns of the output.
    pub rhs_terms: bool,
    pub rhs_gathered: bool,
    /// Rows of the right factor for every expert; none where all share them.
    pub rhs_rows: usize,
    pub grouping: Grouping,
    /// Rows of the output; of one expert where the sums run over its rows.
    pub n_rows: usize,
    pub n_columns: usize,
    /// Terms; unused where those are the rows of an expert.
    pub n_terms: usize,
    pub routes: Option<RouteTensors>,
    /// `[experts, columns]`, dtype of the left factor.
    pub bias: Option<CubeTensor>,
    /// Factors of the terms by choice, dtype of the left factor.
    pub scores: Option<CubeTensor>,
}

impl Product {
    /// The product as a tensor of any shape.
    pub fn run(self, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
        let shape = shape.into();
        let no_rows = self
            .routes
            .as_ref()
            .is_some_and(|routes| routes.n_rows == 0);
        if no_rows || self.n_rows == 0 || self.n_columns == 0 || self.no_terms() {
            return zeros(&self.lhs.tensor, shape, dtype);
        }
        let output = empty(&self.lhs.tensor, shape, dtype);
        let hardware = Hardware::of(&self.lhs.tensor.client);
        if let Some(few_rows) = FewRows::of(&self, &hardware) {
            self.launch_few_rows(&output, &few_rows);
        } else if let Some(tile) = self.plane_tile(&hardware) {
            self.launch_tensor_cores(&output, tile);
        } else if hardware.shared_memory && hardware.max_units >= 256 {
            self.launch_shared(&output, unit_tile(self.usual_rows(), &hardware));
        } else {
            self.launch_registers(&output);
        }
        output
    }

    fn no_terms(&self) -> bool {
        self.grouping != Grouping::Terms && self.n_terms == 0 && self.bias.is_none()
    }

    pub(in crate::product::cube) fn kind(&self) -> GemmKind {
        let top_k = |gathered: bool| match &self.routes {
            Some(routes) if gathered => Some(routes.top_k),
            _ => None,
        };
        GemmKind {
            grouping: self.grouping,
            lhs_rows: self.lhs_rows,
            rhs_terms: self.rhs_terms,
            lhs_top_k: top_k(self.lhs_gathered),
            rhs_top_k: top_k(self.rhs_gathered),
            tail: self.grouping == Grouping::Terms || !self.n_terms.is_multiple_of(DEPTH),
        }
    }

    /// What kernels without stages need to know.
    pub(super) fn unit_kind(&self) -> GemmKind {
        GemmKind {
            tail: true,
            ..self.kind()
        }
    }

    /// The tile for tensor cores, if they can do it.
    fn plane_tile(&self, hardware: &Hardware) -> Option<PlaneTile> {
        let client = &self.lhs.tensor.client;
        let vectors = self.lhs.has_vectors(VECTOR) && self.n_columns.is_multiple_of(VECTOR);
        let right = match &self.rhs {
            Right::Dense(rhs) => {
                rhs.has_vectors(VECTOR) && rhs.tensor.dtype == self.lhs.tensor.dtype
            }
            // Not every value is exact in `f16`.
            Right::Packed(_) => self.lhs.tensor.dtype == DType::BF16,
        };
        let bias = self
            .bias
            .as_ref()
            .is_none_or(|bias| offset(bias).is_multiple_of(16));
        let usable = vectors && right && bias && multiplies(client, self.lhs.tensor.dtype);
        if !usable || hardware.plane != PLANE {
            return None;
        }
        let tile = |planes, fragments| PlaneTile { planes, fragments };
        let tiles = match self.usual_rows() {
            0..=64 => [tile((1, 4), (4, 2)); 2],
            _ if self.n_columns <= 128 => [tile((2, 2), (4, 4)); 2],
            _ => [tile((2, 4), (4, 4)), tile((2, 2), (4, 4))],
        };
        let fits = |tile: &PlaneTile| tile.shared_bytes(self.kind()) <= hardware.shared_bytes;
        tiles.into_iter().find(fits)
    }

    /// Rows that have a right factor in common, if experts have about the same number.
    fn usual_rows(&self) -> usize {
        match (&self.routes, self.grouping) {
            (Some(routes), Grouping::Rows) => routes.n_rows.div_ceil(routes.n_experts),
            _ => self.n_rows,
        }
    }
}

fn offset(tensor: &CubeTensor) -> usize {
    tensor.handle.offset_start.unwrap_or(0) as usize
}

/// Whether the matrix instructions of kernels are there, for operands of a dtype and sums in `f32`.
fn multiplies(client: &Client, dtype: DType) -> bool {
    if !matches!(dtype, DType::BF16 | DType::F16) || client.name() != "cuda" {
        return false;
    }
    let size = FRAGMENT as u32;
    let config = MmaConfig {
        a_type: dtype_to_elem_type(dtype),
        b_type: dtype_to_elem_type(dtype),
        cd_type: dtype_to_elem_type(DType::F32),
        m: size,
        n: size,
        k: size,
    };
    client.properties().features.matmul.cmma.contains(&config)
}

/// The tile for so many rows.
fn unit_tile(n_rows: usize, hardware: &Hardware) -> UnitTile {
    let tile = |high: usize, wide: usize, depth: usize| UnitTile {
        units: (16, 16),
        vectors: (high, wide),
        depth,
    };
    let high = if n_rows > 64 { 2 } else { 1 };
    let tiles = [tile(high, 2, 32), tile(high, 2, 16), tile(1, 2, 16)];
    let fits = |tile: &UnitTile| tile.shared_bytes() <= hardware.shared_bytes;
    tiles.into_iter().find(fits).unwrap_or(tile(1, 1, 16))
}
