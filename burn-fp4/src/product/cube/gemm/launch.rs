//! Launches of products.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::geometry::{GemmShapeLaunch, Grouping};
use super::operands::Right;
use super::plane_tile::PlaneTile;
use super::product::Product;
use super::registers::{BLOCK, registers};
use super::shared::{UnitTile, unit_tiles};
use super::tensor_cores::plane_tiles;
use crate::ops::cube::buffer::words;
use crate::ops::kernels::format::BlockScales;
use crate::product::cube::few_rows::FewRows;
use crate::product::cube::few_rows::kernel::few_rows;
use crate::product::cube::launch::cubes;

/// Units of a cube without shared memory.
const UNITS: usize = 64;

/// Launches a kernel of tiles: its cubes and their units, what it is compiled for, and its types.
macro_rules! launch {
    ($kernel:ident($product:ident, $output:ident), $count:expr, $units:expr, [$($comptime:expr),*], [$($dtype:expr),*]) => {
        let args = $product.args($output);
        $kernel::launch_unchecked(
            &$product.lhs.tensor.client,
            $count,
            CubeDim::new_1d($units as u32),
            $product.address_type($output),
            args.lhs,
            args.rhs.into(),
            args.codes.into(),
            args.scales.into(),
            args.global_scales.into(),
            args.order.into(),
            args.offsets.into(),
            args.bias.into(),
            args.scores.into(),
            args.output,
            $product.shape(),
            $($comptime,)*
            $(dtype_to_elem_type($dtype)),*
        )
    };
}

impl Product {
    fn count(&self, height: usize, width: usize) -> CubeCount {
        let columns = self.n_columns.div_ceil(width) as u32;
        let rows = |n: usize| n.div_ceil(height) as u32;
        match (&self.routes, self.grouping) {
            // Every expert may leave one tile unfilled.
            (Some(routes), Grouping::Rows) => {
                CubeCount::Static(columns, rows(routes.n_rows) + routes.n_experts as u32, 1)
            }
            (Some(routes), Grouping::Terms) => {
                CubeCount::Static(columns, rows(self.n_rows), routes.n_experts as u32)
            }
            _ => CubeCount::Static(columns, rows(self.n_rows), 1),
        }
    }

    fn shape(&self) -> GemmShapeLaunch {
        let (scale_pitch, n_global_scales) = match &self.rhs {
            Right::Dense(_) => (0, 1),
            Right::Packed(packed) => (packed.scale_pitch, packed.global_scales.meta.num_elements()),
        };
        GemmShapeLaunch::new(
            self.n_rows,
            self.n_columns,
            self.n_terms,
            self.routes.as_ref().map_or(1, |routes| routes.n_experts),
            self.lhs.pitch,
            self.rhs.pitch(),
            self.rhs_rows,
            scale_pitch,
            n_global_scales,
        )
    }

    /// Wide enough for every index.
    fn address_type(&self, output: &CubeTensor) -> AddressType {
        let len = |tensor: &CubeTensor| tensor.handle.size_in_used() as usize;
        let rhs = match &self.rhs {
            Right::Dense(rhs) => len(&rhs.tensor),
            Right::Packed(packed) => 2 * len(&packed.codes),
        };
        AddressType::from_len(len(&self.lhs.tensor).max(rhs).max(len(output)))
    }

    /// The dtype of the right factor in memory; packed codes have none.
    fn rhs_dtype(&self) -> DType {
        match &self.rhs {
            Right::Dense(rhs) => rhs.tensor.dtype,
            Right::Packed(_) => self.lhs.tensor.dtype,
        }
    }

    fn args(&self, output: &CubeTensor) -> Args {
        let (rhs, packed) = match &self.rhs {
            Right::Dense(rhs) => (Some(&rhs.tensor), None),
            Right::Packed(packed) => (None, Some(packed)),
        };
        let buffer = |tensor: &CubeTensor| tensor.clone().into_buffer_arg();
        let gathers = self.lhs_gathered || self.rhs_gathered || self.scores.is_some();
        let routes = self.routes.as_ref();
        Args {
            lhs: buffer(&self.lhs.tensor),
            rhs: rhs.map(buffer),
            codes: packed.map(|packed| words(packed.codes.handle.clone())),
            scales: packed.map(|packed| words(packed.scales.handle.clone())),
            global_scales: packed
                .filter(|packed| packed.format.scales == BlockScales::Nv)
                .map(|packed| buffer(&packed.global_scales)),
            order: routes
                .filter(|_| gathers)
                .map(|routes| buffer(&routes.order)),
            offsets: routes.map(|routes| buffer(&routes.offsets)),
            bias: self.bias.as_ref().map(buffer),
            scores: self.scores.as_ref().map(buffer),
            output: buffer(output),
        }
    }

    pub(super) fn launch_few_rows(&self, output: &CubeTensor, few: &FewRows) {
        let team = few.split.team;
        let cubes = cubes(&self.lhs.tensor.client, team.n_cubes(few.n_teams));
        let [row_vector, code_vector] = few.vectors;
        let args = self.args(output);
        // SAFETY: rows and outputs beyond the last ones are those again and not written; teams without rows
        // end at once; vectors divide the distances between rows and their length; rows of a routing are
        // below the number of choices.
        unsafe {
            few_rows::launch_unchecked(
                &self.lhs.tensor.client,
                cubes,
                CubeDim::new_1d(team.cube_units()),
                self.address_type(output),
                row_vector,
                code_vector,
                args.lhs,
                args.rhs.into(),
                args.codes.into(),
                args.scales.into(),
                args.global_scales.into(),
                args.order.into(),
                args.offsets.into(),
                args.bias.into(),
                args.output,
                self.shape(),
                few.split,
                self.rhs.format(),
                dtype_to_elem_type(self.lhs.tensor.dtype),
                dtype_to_elem_type(self.rhs_dtype()),
                dtype_to_elem_type(output.dtype),
            );
        }
    }

    pub(super) fn launch_tensor_cores(&self, output: &CubeTensor, tile: PlaneTile) {
        // SAFETY: vectors beyond the last row, column or term are replaced by the last ones and not
        // written; parts without rows end at once; rows of a routing are below the number of choices.
        unsafe {
            launch!(
                plane_tiles(self, output),
                self.count(tile.height(), tile.width()),
                tile.n_units(),
                [self.kind(), tile, self.rhs.format()],
                [self.lhs.tensor.dtype, output.dtype]
            );
        }
    }

    pub(super) fn launch_shared(&self, output: &CubeTensor, tile: UnitTile) {
        // SAFETY: as above, with elements.
        unsafe {
            launch!(
                unit_tiles(self, output),
                self.count(tile.height(), tile.width()),
                tile.n_units(),
                [self.unit_kind(), tile, self.rhs.format()],
                [self.lhs.tensor.dtype, self.rhs_dtype(), output.dtype]
            );
        }
    }

    pub(super) fn launch_registers(&self, output: &CubeTensor) {
        // SAFETY: as above, with elements; units beyond the last column end at once.
        unsafe {
            launch!(
                registers(self, output),
                self.count(BLOCK, BLOCK * UNITS),
                UNITS,
                [self.unit_kind(), self.rhs.format()],
                [self.lhs.tensor.dtype, self.rhs_dtype(), output.dtype]
            );
        }
    }
}

struct Args {
    lhs: BufferArg,
    rhs: Option<BufferArg>,
    codes: Option<BufferArg>,
    scales: Option<BufferArg>,
    global_scales: Option<BufferArg>,
    order: Option<BufferArg>,
    offsets: Option<BufferArg>,
    bias: Option<BufferArg>,
    scores: Option<BufferArg>,
    output: BufferArg,
}
