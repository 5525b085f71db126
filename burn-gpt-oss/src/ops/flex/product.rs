//! Products of float32 matrices that are anywhere in memory.

/// Multiply-adds above which a product is worth more than one thread; Flex draws the line there, too.
const PARALLEL: usize = 192 * 192 * 192;

/// A matrix with any strides.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

/// A matrix with consecutive columns that is written.
pub(crate) struct MatrixMut<'a> {
    values: &'a mut [f32],
    shape: [usize; 2],
    row_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    pub fn new(values: &'a [f32], shape: [usize; 2]) -> Self {
        Self::with_strides(values, shape, [shape[1], 1])
    }

    /// A matrix whose element `[i, j]` is `values[i * strides[0] + j * strides[1]]`.
    pub fn with_strides(values: &'a [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        assert!(extent(shape, strides) <= values.len(), "matrix in bounds");
        Self {
            values,
            shape,
            strides,
        }
    }

    pub fn transposed(self) -> Self {
        let ([rows, columns], [row, column]) = (self.shape, self.strides);
        Self {
            values: self.values,
            shape: [columns, rows],
            strides: [column, row],
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// A row-major matrix.
    pub fn new(values: &'a mut [f32], shape: [usize; 2]) -> Self {
        assert_eq!(values.len(), shape[0] * shape[1], "elements of a matrix");
        Self {
            values,
            shape,
            row_stride: shape[1],
        }
    }
}

/// Elements from the first to behind the last.
fn extent(shape: [usize; 2], strides: [usize; 2]) -> usize {
    match shape {
        [0, _] | [_, 0] => 0,
        [rows, columns] => (rows - 1) * strides[0] + (columns - 1) * strides[1] + 1,
    }
}

/// `out = lhs rhs`, or `out += lhs rhs`; the sum over the inner axis does not depend on the number of
/// threads.
#[allow(unsafe_code)]
pub(crate) fn product(out: MatrixMut<'_>, lhs: Matrix<'_>, rhs: Matrix<'_>, add: bool) {
    let ([m, k], [inner, n]) = (lhs.shape, rhs.shape);
    assert_eq!(k, inner, "inner axes of a product");
    assert_eq!(out.shape, [m, n], "shape of a product");
    assert!(extent(out.shape, [out.row_stride, 1]) <= out.values.len());
    let parallelism = if m * n * k < PARALLEL {
        gemm::Parallelism::None
    } else {
        gemm::Parallelism::Rayon(0)
    };
    let stride = |stride: usize| stride as isize;
    // SAFETY: `extent` of every matrix is within its slice, and `out` is borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.values.as_mut_ptr(),
            1,
            stride(out.row_stride),
            add,
            lhs.values.as_ptr(),
            stride(lhs.strides[1]),
            stride(lhs.strides[0]),
            rhs.values.as_ptr(),
            stride(rhs.strides[1]),
            stride(rhs.strides[0]),
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
