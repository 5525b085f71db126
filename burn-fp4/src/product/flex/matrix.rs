//! Matrices anywhere in memory.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

/// A matrix whose rows and columns lie at any distance.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T = f32> {
    values: &'a [T],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// If it does not fit into `values`.
    pub fn new(values: &'a [T], shape: [usize; 2]) -> Self {
        Self::with_strides(values, shape, [shape[1], 1])
    }

    /// Rows of `width` elements, one after another.
    pub fn row_major(values: &'a [T], width: usize) -> Self {
        let height = values.len().checked_div(width).unwrap_or(0);
        Self::new(values, [height, width])
    }

    /// The matrix whose element `[i, j]` is `values[i * strides[0] + j * strides[1]]`.
    ///
    /// # Panics
    /// If it does not fit into `values`.
    pub fn with_strides(values: &'a [T], shape: [usize; 2], strides: [usize; 2]) -> Self {
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

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Elements from one row to the next, and from one column to the next.
    pub fn strides(&self) -> [usize; 2] {
        self.strides
    }

    /// The transposed matrix, in the same memory.
    pub fn transposed(self) -> Self {
        let ([height, width], [down, right]) = (self.shape, self.strides);
        Self {
            values: self.values,
            shape: [width, height],
            strides: [right, down],
        }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn rows(self, rows: Range<usize>) -> Self {
        self.transposed().columns(rows).transposed()
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn columns(self, columns: Range<usize>) -> Self {
        assert!(columns.end <= self.shape[1], "columns beyond a matrix");
        let first = (columns.start * self.strides[1]).min(self.values.len());
        let shape = [self.shape[0], columns.len()];
        Self::with_strides(&self.values[first..], shape, self.strides)
    }

    /// Appends the elements of a row.
    pub(crate) fn extend_row(&self, row: usize, out: &mut Vec<T>)
    where
        T: Copy,
    {
        let (values, width) = (self.row(row), self.shape[1]);
        match self.strides[1] {
            1 => out.extend_from_slice(&values[..width]),
            stride => out.extend(values.iter().step_by(stride).take(width)),
        }
    }

    /// The elements from the first of a row on.
    pub(super) fn row(&self, row: usize) -> &'a [T] {
        &self.values[row * self.strides[0]..]
    }

    pub(super) fn as_ptr(&self) -> *const T {
        self.values.as_ptr()
    }
}

/// Adjacent columns of a row-major matrix, to write to.
#[derive(Debug)]
pub struct MatrixMut<'a, T = f32> {
    values: *mut T,
    shape: [usize; 2],
    /// Distance of the rows.
    stride: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: this is a `&mut` to its elements, which no other `MatrixMut` has: tiles share no column.
unsafe impl<T: Send> Send for MatrixMut<'_, T> {}

impl<'a, T> MatrixMut<'a, T> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// If `values` has another number of elements.
    pub fn new(values: &'a mut [T], shape: [usize; 2]) -> Self {
        assert_eq!(values.len(), shape[0] * shape[1], "elements of a matrix");
        Self {
            values: values.as_mut_ptr(),
            shape,
            stride: shape[1],
            borrowed: PhantomData,
        }
    }

    /// Rows of `width` elements, one after another.
    ///
    /// # Panics
    /// If `values` is not whole rows.
    pub fn row_major(values: &'a mut [T], width: usize) -> Self {
        let height = values.len().checked_div(width).unwrap_or(0);
        Self::new(values, [height, width])
    }

    /// The same matrix for a shorter time.
    pub fn reborrow(&mut self) -> MatrixMut<'_, T> {
        self.columns(0..self.shape[1])
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn columns(&mut self, columns: Range<usize>) -> MatrixMut<'_, T> {
        assert!(columns.end <= self.shape[1], "columns beyond a matrix");
        self.part(columns)
    }

    /// Parts of `width` columns, the last one of what is left.
    pub fn into_tiles(self, width: usize) -> Vec<(Range<usize>, Self)> {
        let total = self.shape[1];
        let tiles = (0..total).step_by(width).map(|start| {
            let columns = start..total.min(start + width);
            (columns.clone(), self.part(columns))
        });
        tiles.collect()
    }

    /// Not to be used together with what shares a column.
    fn part<'p>(&self, columns: Range<usize>) -> MatrixMut<'p, T> {
        MatrixMut {
            // Without rows there is nothing behind the pointer, not even the first column.
            values: self.values.wrapping_add(columns.start),
            shape: [self.shape[0], columns.len()],
            stride: self.stride,
            borrowed: PhantomData,
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// A row.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.shape[0], "a row beyond a matrix");
        // SAFETY: the row exists, its columns are this matrix's own, and `self` is borrowed for as
        // long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(row * self.stride), self.shape[1]) }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut T {
        self.values
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }
}
