//! FP4 codes with their scales.

use std::borrow::Cow;
use std::ops::Range;

use super::last_two;
use crate::ops::Fp4Primitive;
use crate::packed::PackedFp4;
use crate::product::flex::elements;
use crate::product::flex::matrix::Matrix;
use crate::product::packed_product::{PackedMatrix, ProductRows, packed_product};
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalScope;
use burn::backend::{Flex, TensorMetadata};

/// Matrices `[height, width]` in FP4, blocks along the rows.
pub(super) struct Packed<'a> {
    codes: Cow<'a, [u8]>,
    scales: Cow<'a, [u8]>,
    global_scales: Cow<'a, [f32]>,
    height: usize,
    /// Bytes of codes and of scales in a row.
    row: [usize; 2],
    scheme: Fp4Scheme,
}

impl<'a> Packed<'a> {
    pub fn new(weight: &'a Fp4Primitive<Flex>, scheme: Fp4Scheme) -> Self {
        let shape = weight.codes.shape();
        let [height, code_bytes] = last_two(&shape);
        let n_scales = weight.global_scales.shape().num_elements();
        assert!(
            n_scales == 1 || shape.num_dims() > 2,
            "one matrix has one global scale"
        );
        Self {
            codes: elements(&weight.codes),
            scales: elements(&weight.scales),
            global_scales: elements(&weight.global_scales),
            height,
            row: [code_bytes, 2 * code_bytes / scheme.block_size()],
            scheme,
        }
    }

    /// Products of rows with some rows of one matrix.
    pub fn product(
        &self,
        expert: usize,
        rows: &ProductRows,
        outputs: Range<usize>,
        out: &mut [f32],
    ) {
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
    pub fn decode<'s>(
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
