//! Floats of any dtype and layout.

use std::borrow::Cow;
use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::tensor::Element;
use burn_flex::FlexTensor;
use bytemuck::Pod;

use crate::product::flex::matrix::Matrix;
use crate::product::flex::{FloatElement, elements};

/// `[experts, in, out]`, or `[in, out]` of one expert.
pub(super) struct Dense<'a, T: Clone> {
    values: Cow<'a, [T]>,
    shape: [usize; 3],
    strides: [usize; 3],
}

impl<'a, T: Element + Pod> Dense<'a, T> {
    /// Any view without steps backwards is read where it is.
    pub fn new(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let shape = three(tensor.shape().as_slice(), 1);
        let strides = layout
            .strides()
            .iter()
            .map(|&stride| usize::try_from(stride).ok());
        match strides.collect::<Option<Vec<_>>>() {
            Some(strides) => Self {
                values: Cow::Borrowed(&tensor.storage::<T>()[layout.start_offset()..]),
                shape,
                strides: three(&strides, 0),
            },
            None => Self {
                values: elements(tensor),
                shape,
                strides: [shape[1] * shape[2], shape[2], 1],
            },
        }
    }

    /// The elements of adjacent columns, if they lie one column behind the other.
    pub fn columns(&self, expert: usize, columns: Range<usize>, transposed: bool) -> Option<&[T]> {
        let n_columns = columns.len();
        let matrix = self.tile(expert, columns, transposed);
        let ([height, _], [down, right]) = (matrix.shape(), matrix.strides());
        let adjacent = down == 1 && right == height;
        adjacent.then(|| &matrix.row(0)[..height * n_columns])
    }

    pub fn tile(&self, expert: usize, columns: Range<usize>, transposed: bool) -> Matrix<'_, T> {
        let [_, height, width] = self.shape;
        let [across, down, right] = self.strides;
        let values = &self.values[expert * across..];
        let matrix = Matrix::with_strides(values, [height, width], [down, right]);
        let matrix = if transposed {
            matrix.transposed()
        } else {
            matrix
        };
        matrix.columns(columns)
    }
}

/// The last three of at most three, `missing` before fewer.
fn three(values: &[usize], missing: usize) -> [usize; 3] {
    let mut out = [missing; 3];
    out[3 - values.len()..].copy_from_slice(values);
    out
}

/// As `f32` in `scratch`, in the order in which the elements are stored.
pub(super) fn widen<'s, T: FloatElement>(
    matrix: Matrix<'_, T>,
    scratch: &'s mut Vec<f32>,
) -> Matrix<'s> {
    if matrix.strides()[1] > matrix.strides()[0] {
        return widen(matrix.transposed(), scratch).transposed();
    }
    let [height, width] = matrix.shape();
    scratch.clear();
    scratch.reserve(height * width);
    for row in 0..height {
        let values = matrix.row(row);
        if matrix.strides()[1] == 1 {
            T::append(&values[..width], scratch);
        } else {
            let values = values.iter().step_by(matrix.strides()[1]).take(width);
            let values: Vec<T> = values.copied().collect();
            T::append(&values, scratch);
        }
    }
    Matrix::row_major(scratch, width)
}
