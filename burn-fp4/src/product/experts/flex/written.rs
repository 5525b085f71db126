use half::{bf16, f16};

use crate::product::flex::FloatElement;
use crate::product::flex::matrix::MatrixMut;

/// A float type in which products are stored.
pub(super) trait Written: FloatElement {
    /// Has `compute` write to `out` as `f32`, by way of `scratch` where that is not its type.
    fn write(
        out: MatrixMut<'_, Self>,
        scratch: &mut Vec<f32>,
        compute: impl FnOnce(&mut MatrixMut<'_>),
    );
}

impl Written for f32 {
    fn write(
        mut out: MatrixMut<'_, Self>,
        _: &mut Vec<f32>,
        compute: impl FnOnce(&mut MatrixMut<'_>),
    ) {
        compute(&mut out);
    }
}

impl Written for bf16 {
    fn write(
        out: MatrixMut<'_, Self>,
        scratch: &mut Vec<f32>,
        compute: impl FnOnce(&mut MatrixMut<'_>),
    ) {
        write_narrowed(out, scratch, compute);
    }
}

impl Written for f16 {
    fn write(
        out: MatrixMut<'_, Self>,
        scratch: &mut Vec<f32>,
        compute: impl FnOnce(&mut MatrixMut<'_>),
    ) {
        write_narrowed(out, scratch, compute);
    }
}

fn write_narrowed<T: FloatElement>(
    mut out: MatrixMut<'_, T>,
    scratch: &mut Vec<f32>,
    compute: impl FnOnce(&mut MatrixMut<'_>),
) {
    let [n_rows, width] = out.shape();
    scratch.resize(n_rows * width, 0.0);
    compute(&mut MatrixMut::row_major(scratch, width));
    for (row, values) in scratch.chunks_exact(width).enumerate() {
        T::narrow(values, out.row(row));
    }
}
