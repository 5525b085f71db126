use half::{bf16, f16};

use crate::ops::flex::FloatElement;
use crate::ops::flex::matrices::MatrixMut;

/// A float type in which products are stored.
pub(super) trait Written: FloatElement {
    /// Has `compute` write to `out` as `f32`, by way of `scratch` where that is not its type.
    fn write(
        out: MatrixMut<'_, Self>,
        scratch: &mut Vec<f32>,
        compute: impl FnOnce(&mut MatrixMut<'_, f32>),
    );
}

impl Written for f32 {
    fn write(
        mut out: MatrixMut<'_, Self>,
        _: &mut Vec<f32>,
        compute: impl FnOnce(&mut MatrixMut<'_, f32>),
    ) {
        compute(&mut out);
    }
}

impl Written for bf16 {
    fn write(
        out: MatrixMut<'_, Self>,
        scratch: &mut Vec<f32>,
        compute: impl FnOnce(&mut MatrixMut<'_, f32>),
    ) {
        write_narrowed(out, scratch, compute);
    }
}

impl Written for f16 {
    fn write(
        out: MatrixMut<'_, Self>,
        scratch: &mut Vec<f32>,
        compute: impl FnOnce(&mut MatrixMut<'_, f32>),
    ) {
        write_narrowed(out, scratch, compute);
    }
}

fn write_narrowed<T: FloatElement>(
    mut out: MatrixMut<'_, T>,
    scratch: &mut Vec<f32>,
    compute: impl FnOnce(&mut MatrixMut<'_, f32>),
) {
    let [n_rows, width] = out.shape();
    scratch.resize(n_rows * width, 0.0);
    compute(&mut MatrixMut::new(scratch, width));
    for (row, values) in scratch.chunks_exact(width).enumerate() {
        T::narrow(values, out.row(row));
    }
}
