//! Views of matrices and their product.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

/// A matrix whose rows and columns lie at any distance.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Matrix<'a, T = f32> {
    values: &'a [T],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a, T> Matrix<'a, T> {
    /// The matrix that begins with the first of `values`.
    ///
    /// # Panics
    /// If it does not fit into them.
    pub(in crate::ops) fn new(values: &'a [T], shape: [usize; 2], strides: [usize; 2]) -> Self {
        if !shape.contains(&0) {
            let last = (shape[0] - 1) * strides[0] + (shape[1] - 1) * strides[1];
            assert!(last < values.len(), "a matrix beyond its values");
        }
        Self {
            values,
            shape,
            strides,
        }
    }

    /// Row after row.
    pub(in crate::ops) fn row_major(values: &'a [T], width: usize) -> Self {
        let height = values.len().checked_div(width).unwrap_or(0);
        Self::new(values, [height, width], [width, 1])
    }

    pub(in crate::ops) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    pub(in crate::ops) fn strides(&self) -> [usize; 2] {
        self.strides
    }

    pub(in crate::ops) fn transposed(self) -> Self {
        let ([height, width], [down, right]) = (self.shape, self.strides);
        Self {
            values: self.values,
            shape: [width, height],
            strides: [right, down],
        }
    }

    pub(in crate::ops) fn columns(self, columns: Range<usize>) -> Self {
        assert!(columns.end <= self.shape[1], "columns beyond a matrix");
        let first = (columns.start * self.strides[1]).min(self.values.len());
        let shape = [self.shape[0], columns.len()];
        Self::new(&self.values[first..], shape, self.strides)
    }

    /// The elements from the first of a row on.
    pub(in crate::ops) fn row(&self, row: usize) -> &'a [T] {
        &self.values[row * self.strides[0]..]
    }
}

/// Adjacent columns of a row-major matrix, to write to.
pub(in crate::ops) struct MatrixMut<'a, T> {
    values: *mut T,
    shape: [usize; 2],
    /// Distance of the rows.
    stride: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: this is a `&mut` to its elements, which no other `MatrixMut` has: tiles share no column.
unsafe impl<T: Send> Send for MatrixMut<'_, T> {}

impl<'a, T> MatrixMut<'a, T> {
    /// Row after row.
    pub(in crate::ops) fn new(values: &'a mut [T], width: usize) -> Self {
        let height = values.len().checked_div(width).unwrap_or(0);
        Self {
            values: values.as_mut_ptr(),
            shape: [height, width],
            stride: width,
            borrowed: PhantomData,
        }
    }

    /// Parts of `width` columns, the last one of what is left.
    pub(in crate::ops) fn into_tiles(self, width: usize) -> Vec<(Range<usize>, Self)> {
        let [height, total] = self.shape;
        let tiles = (0..total).step_by(width).map(|start| {
            let columns = start..total.min(start + width);
            let tile = Self {
                // Without rows there is nothing behind the pointer, not even the first column.
                values: self.values.wrapping_add(start),
                shape: [height, columns.len()],
                stride: self.stride,
                borrowed: PhantomData,
            };
            (columns, tile)
        });
        tiles.collect()
    }

    pub(in crate::ops) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    pub(in crate::ops) fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.shape[0], "a row beyond a matrix");
        // SAFETY: the row exists, its columns are this matrix's own, and `self` is borrowed for as
        // long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(row * self.stride), self.shape[1]) }
    }
}

/// `out = left x right`, added to what is in `out` if `accumulate`; on the calling thread.
pub(in crate::ops) fn multiply(
    out: &mut MatrixMut<'_, f32>,
    left: Matrix<'_>,
    right: Matrix<'_>,
    accumulate: bool,
) {
    let ([m, n], k) = (out.shape, left.shape[1]);
    assert_eq!(left.shape, [m, k], "left factor");
    assert_eq!(right.shape, [k, n], "right factor");
    let stride = |stride: usize| isize::try_from(stride).expect("lengths of slices fit");
    // SAFETY: the factors lie within their slices, `out` within the one it borrows mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.values,
            1,
            stride(out.stride),
            accumulate,
            left.values.as_ptr(),
            stride(left.strides[1]),
            stride(left.strides[0]),
            right.values.as_ptr(),
            stride(right.strides[1]),
            stride(right.strides[0]),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
