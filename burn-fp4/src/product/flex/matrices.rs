//! Matrices as they are stored, read a tile of columns at a time: those of experts, or a single one.

mod dense;
mod packed;
mod prepared_rows;

use std::ops::Range;

use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;
use half::{bf16, f16};

use dense::{Dense, widen};
use packed::Packed;
pub(crate) use prepared_rows::PreparedRows;

use super::matrix::Matrix;
use crate::product::operand::OperandPrimitive;

/// One matrix per expert as it is stored, read as `f32` and as it is or transposed.
pub(crate) struct Matrices<'a> {
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
    pub(crate) fn new(weight: &'a OperandPrimitive<Flex>) -> Self {
        match weight {
            OperandPrimitive::Dense(weight) => Self {
                shape: last_two(&weight.shape()),
                stored: Stored::dense(weight),
                transposed: false,
            },
            OperandPrimitive::Packed(weight, scheme)
            | OperandPrimitive::Merged(weight, scheme, _)
            | OperandPrimitive::Rounded(weight, scheme, _) => {
                let [height, width] = last_two(&weight.codes.shape());
                Self {
                    stored: Stored::Packed(Packed::new(weight, *scheme)),
                    shape: [height, 2 * width],
                    transposed: true,
                }
            }
        }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            transposed: !self.transposed,
            ..self
        }
    }

    /// Columns of each.
    pub(crate) fn width(&self) -> usize {
        self.shape[usize::from(!self.transposed)]
    }

    /// Whether these are packed matrices whose rows are the columns of the product.
    fn is_packed_by_outputs(&self) -> bool {
        self.transposed && matches!(self.stored, Stored::Packed(_))
    }

    /// Columns of the matrix of one expert, in place or in `scratch`; the bounds of `columns` are
    /// multiples of the block size of packed matrices.
    pub(crate) fn tile<'s>(
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

/// The lengths of one matrix.
fn last_two(shape: &Shape) -> [usize; 2] {
    let rank = shape.num_dims();
    [shape[rank - 2], shape[rank - 1]]
}
