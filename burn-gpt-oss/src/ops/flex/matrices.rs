//! Matrices as they are stored, read a tile of columns at a time: those of experts, or a single one.

mod factor;
mod view;

use std::borrow::Cow;
use std::ops::Range;

use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Element};
use burn_flex::FlexTensor;
use burn_fp4::{
    Fp4Primitive, Fp4Scheme, GlobalScope, PackedFp4, PackedMatrix, PackedProductMode, ProductRows,
    packed_product,
};
use bytemuck::Pod;
use half::{bf16, f16};

pub(in crate::ops) use factor::Factor;
pub(in crate::ops) use view::{Matrix, MatrixMut, multiply};

use super::{FloatElement, elements};
use crate::ops::experts::ExpertPrimitive;

/// One matrix per expert as it is stored, read as `f32` and as it is or transposed.
pub(in crate::ops) struct Matrices<'a> {
    stored: Stored<'a>,
    /// Of one stored matrix.
    shape: [usize; 2],
    transposed: bool,
}

enum Stored<'a> {
    F32(Dense<'a, f32>),
    Bf16(Dense<'a, bf16>),
    F16(Dense<'a, f16>),
    Packed(Packed<'a>),
}

impl<'a> Matrices<'a> {
    /// Packed matrices are transposed as they are stored, and thus turned to `[in, out]`.
    pub(in crate::ops) fn new(weight: &'a ExpertPrimitive<Flex>) -> Self {
        let [_, height, width] = match weight {
            ExpertPrimitive::Dense(weight) => weight.shape().dims(),
            ExpertPrimitive::Packed(weight, ..) => weight.codes.shape().dims(),
        };
        match weight {
            ExpertPrimitive::Dense(weight) => Self {
                stored: Stored::dense(weight),
                shape: [height, width],
                transposed: false,
            },
            ExpertPrimitive::Packed(weight, scheme, mode) => Self {
                stored: Stored::Packed(Packed::new(weight, *scheme, *mode)),
                shape: [height, 2 * width],
                transposed: true,
            },
        }
    }

    /// A matrix `[in, out]` as that of the only expert.
    pub(in crate::ops) fn single(weight: &'a FlexTensor) -> Self {
        Self {
            stored: Stored::dense(weight),
            shape: weight.shape().dims(),
            transposed: false,
        }
    }

    pub(in crate::ops) fn transposed(self) -> Self {
        Self {
            transposed: !self.transposed,
            ..self
        }
    }

    /// Columns of each.
    pub(in crate::ops) fn width(&self) -> usize {
        self.shape[usize::from(!self.transposed)]
    }

    /// How few rows multiply with packed matrices whose rows are the columns of the product.
    fn packed_outputs(&self) -> Option<PackedProductMode> {
        match &self.stored {
            Stored::Packed(packed) if self.transposed => Some(packed.mode),
            _ => None,
        }
    }

    /// Columns of the matrix of one expert, in place or in `scratch`; the bounds of `columns` are
    /// multiples of the block size of packed matrices.
    pub(in crate::ops) fn tile<'s>(
        &'s self,
        expert: usize,
        columns: Range<usize>,
        scratch: &'s mut Vec<f32>,
    ) -> Matrix<'s> {
        match &self.stored {
            Stored::F32(dense) => dense.tile(expert, columns, self.transposed),
            Stored::Bf16(dense) => widen(dense.tile(expert, columns, self.transposed), scratch),
            Stored::F16(dense) => widen(dense.tile(expert, columns, self.transposed), scratch),
            Stored::Packed(packed) => {
                let [height, width] = self.shape;
                let whole = |len| 0..len;
                if self.transposed {
                    packed
                        .decode(expert, columns, whole(width), scratch)
                        .transposed()
                } else {
                    packed.decode(expert, whole(height), columns, scratch)
                }
            }
        }
    }
}

impl<'a> Stored<'a> {
    fn dense(weight: &'a FlexTensor) -> Self {
        match weight.dtype() {
            DType::F32 => Self::F32(Dense::new(weight)),
            DType::BF16 => Self::Bf16(Dense::new(weight)),
            DType::F16 => Self::F16(Dense::new(weight)),
            other => panic!("dtype {other:?} is not one of F32, BF16, F16"),
        }
    }
}

/// `[experts, in, out]`, or `[in, out]` of one expert.
struct Dense<'a, T: Clone> {
    values: Cow<'a, [T]>,
    shape: [usize; 3],
    strides: [usize; 3],
}

impl<'a, T: Element + Pod> Dense<'a, T> {
    /// Any view without steps backwards is read where it is.
    fn new(tensor: &'a FlexTensor) -> Self {
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
    fn columns(&self, expert: usize, columns: Range<usize>, transposed: bool) -> Option<&[T]> {
        let n_columns = columns.len();
        let matrix = self.tile(expert, columns, transposed);
        let ([height, _], [down, right]) = (matrix.shape(), matrix.strides());
        let adjacent = down == 1 && right == height;
        adjacent.then(|| &matrix.row(0)[..height * n_columns])
    }

    fn tile(&self, expert: usize, columns: Range<usize>, transposed: bool) -> Matrix<'_, T> {
        let [_, height, width] = self.shape;
        let [across, down, right] = self.strides;
        let values = &self.values[expert * across..];
        let matrix = Matrix::new(values, [height, width], [down, right]);
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
fn widen<'s, T: FloatElement>(matrix: Matrix<'_, T>, scratch: &'s mut Vec<f32>) -> Matrix<'s> {
    if matrix.strides()[1] > matrix.strides()[0] {
        return widen(matrix.transposed(), scratch).transposed();
    }
    let [height, width] = matrix.shape();
    let mut space = Vec::new();
    scratch.clear();
    for row in 0..height {
        let values = matrix.row(row);
        if matrix.strides()[1] == 1 {
            scratch.extend_from_slice(T::widen(&values[..width], &mut space));
        } else {
            let values = values.iter().step_by(matrix.strides()[1]).take(width);
            let values: Vec<T> = values.copied().collect();
            scratch.extend_from_slice(T::widen(&values, &mut space));
        }
    }
    Matrix::row_major(scratch, width)
}

/// Matrices `[height, width]` in FP4, blocks along the rows.
struct Packed<'a> {
    codes: Cow<'a, [u8]>,
    scales: Cow<'a, [u8]>,
    global_scales: Cow<'a, [f32]>,
    height: usize,
    /// Bytes of codes and of scales in a row.
    row: [usize; 2],
    scheme: Fp4Scheme,
    mode: PackedProductMode,
}

impl<'a> Packed<'a> {
    fn new(weight: &'a Fp4Primitive<Flex>, scheme: Fp4Scheme, mode: PackedProductMode) -> Self {
        let [_, height, code_bytes] = weight.codes.shape().dims();
        Self {
            codes: elements(&weight.codes),
            scales: elements(&weight.scales),
            global_scales: elements(&weight.global_scales),
            height,
            row: [code_bytes, 2 * code_bytes / scheme.block_size()],
            scheme,
            mode,
        }
    }

    /// Products of rows with some rows of one matrix.
    fn product(&self, expert: usize, rows: &ProductRows, outputs: Range<usize>, out: &mut [f32]) {
        let [code_row, scale_row] = self.row;
        let bytes = |row: usize| expert * self.height * row..(expert + 1) * self.height * row;
        let matrix = PackedMatrix::new(
            self.scheme,
            [self.height, 2 * code_row],
            &self.codes[bytes(code_row)],
            &self.scales[bytes(scale_row)],
            self.global_scale(expert),
        );
        let matrix = matrix.expect("a part of packed matrices along whole blocks");
        packed_product(rows, &matrix, outputs, out);
    }

    /// The one of an expert, if each has its own.
    fn global_scale(&self, expert: usize) -> f32 {
        self.global_scales[expert.min(self.global_scales.len() - 1)]
    }

    /// A part of one matrix in `scratch`.
    fn decode<'s>(
        &self,
        expert: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'s mut Vec<f32>,
    ) -> Matrix<'s> {
        let block_size = self.scheme.block_size();
        let [code_row, scale_row] = self.row;
        let first = expert * self.height;
        let rows = first + rows.start..first + rows.end;
        let (start, end) = (columns.start, columns.end);
        let codes = part(&self.codes, code_row, &rows, start / 2..end / 2);
        let blocks = start / block_size..end / block_size;
        let scales = part(&self.scales, scale_row, &rows, blocks);
        let shape = vec![rows.len(), columns.len()];
        // The scope of one matrix: if there was a scale per expert, only its own is left.
        let scheme = self.scheme.with_global_scope(GlobalScope::Tensor);
        let global_scales = match scheme.n_global_scales(&shape) {
            0 => Vec::new(),
            _ => vec![self.global_scale(expert)],
        };
        scratch.resize(rows.len() * columns.len(), 0.0);
        PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global_scales)
            .and_then(|packed| packed.dequantize_along(1, scratch))
            .expect("a part of packed matrices along whole blocks");
        Matrix::row_major(scratch, columns.len())
    }
}

/// Columns of rows of `len` bytes.
fn part<'a>(
    bytes: &'a [u8],
    len: usize,
    rows: &Range<usize>,
    columns: Range<usize>,
) -> Cow<'a, [u8]> {
    let bytes = &bytes[rows.start * len..rows.end * len];
    if columns.len() == len {
        return Cow::Borrowed(bytes);
    }
    let rows = bytes.chunks_exact(len);
    Cow::Owned(
        rows.flat_map(|row| &row[columns.clone()])
            .copied()
            .collect(),
    )
}
