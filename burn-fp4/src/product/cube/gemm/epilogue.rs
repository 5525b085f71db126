//! From fragments to global memory.

use cubecl::cmma::{self, Matrix, MatrixLayout};
use cubecl::prelude::*;

use super::geometry::{GemmShape, Part};
use super::plane_tile::{FRAGMENT, PLANE, PlaneTile};
use super::stage::VECTOR;

/// Writes the sums of every plane, times `factor` and with their bias, in vectors of eight.
///
/// The places of values within fragments are the device's, so that these go through shared memory, 16
/// rows at a time.
#[cube]
pub(crate) fn write_part<F: Float, O: Float>(
    sums: &Sequence<Matrix<f32>>,
    output: &mut [Vector<O, Const<8>>],
    bias: ComptimeOption<&[Vector<F, Const<8>>]>,
    part: &Part,
    shape: &GemmShape,
    factor: f32,
    #[comptime] tile: PlaneTile,
) {
    let pitch = comptime!(tile.strip_pitch() / 4);
    let size = comptime!(FRAGMENT * pitch);
    let mut strips =
        Shared::<[Vector<f32, Const<4>>]>::new_slice(comptime!(tile.n_planes() * size));
    let plane = UNIT_POS as usize / PLANE;
    let lane = UNIT_POS as usize % PLANE;
    let strip = plane * size;
    // Vectors of a row, and rows at a time.
    let width = comptime!(tile.fragments.1 * FRAGMENT / VECTOR);
    let height = comptime!(PLANE / width);
    let column = part.first_column / VECTOR + plane % tile.planes.1 * width + lane % width;
    let width_of_output = shape.n_columns / VECTOR;
    #[unroll]
    for i in 0..comptime!(tile.fragments.0) {
        #[unroll]
        for j in 0..comptime!(tile.fragments.1) {
            let at = strip + comptime!(j * FRAGMENT / 4);
            cmma::store(
                &mut strips[at..],
                sums.index(comptime!(i * tile.fragments.1 + j)),
                comptime!(tile.strip_pitch() as u32),
                MatrixLayout::RowMajor,
            );
        }
        sync_plane();
        let first_row = (plane / tile.planes.1 * tile.fragments.0 + i) * FRAGMENT;
        #[unroll]
        for pass in 0..comptime!(FRAGMENT / height) {
            let row = comptime!(pass * height) + lane / width;
            let at = strip + row * pitch + lane % width * 2;
            let (low, high) = (strips[at], strips[at + 1]);
            if first_row + row < part.n_rows && column < width_of_output {
                let mut value = Vector::<f32, Const<8>>::empty();
                #[unroll]
                for k in 0..4usize {
                    value.insert(k, low.extract(k));
                    value.insert(comptime!(k + 4), high.extract(k));
                }
                let value = value * Vector::new(factor);
                #[comptime]
                let value = match bias {
                    ComptimeOption::Some(bias) => {
                        let bias = bias[part.expert * width_of_output + column];
                        value + Vector::<f32, Const<8>>::cast_from(bias)
                    }
                    ComptimeOption::None => value,
                };
                let place = part.output_row + part.first_row + first_row + row;
                output[place * width_of_output + column] = Vector::<O, Const<8>>::cast_from(value);
            }
        }
        sync_plane();
    }
}
