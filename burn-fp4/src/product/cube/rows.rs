//! Rows times a weight, or the matrices of their experts.

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::contiguous;
use super::gemm::geometry::Grouping;
use super::gemm::operands::{Dense, Packed, Right};
use super::gemm::product::{Product, RouteTensors};
use crate::product::operand::OperandPrimitive;

/// Rows as they lie in memory, and whose they are.
pub(crate) struct Rows<'a> {
    pub tensor: CubeTensor,
    /// None where all rows have the same matrix.
    pub routes: Option<&'a RouteTensors>,
    /// Whether there is a row per token instead of one per choice.
    pub gathered: bool,
}

/// `rows x weight (+ bias)`; with a routing, a row per choice.
pub(crate) fn forward(
    rows: Rows<'_>,
    weight: OperandPrimitive<CubeBackend>,
    bias: Option<CubeTensor>,
) -> CubeTensor {
    let matrices = Matrices::new(weight);
    let widths = [matrices.d_input, matrices.d_output];
    // Rows in memory are inputs, or in packed matrices outputs.
    let rhs_terms = matrices.rows_are_inputs;
    multiply(rows, matrices, rhs_terms, widths, bias)
}

/// `rows x weight^T`; with a routing, a row per choice.
pub(crate) fn backward(rows: Rows<'_>, weight: OperandPrimitive<CubeBackend>) -> CubeTensor {
    let matrices = Matrices::new(weight);
    let widths = [matrices.d_output, matrices.d_input];
    let rhs_terms = !matrices.rows_are_inputs;
    multiply(rows, matrices, rhs_terms, widths, None)
}

fn multiply(
    rows: Rows<'_>,
    matrices: Matrices,
    rhs_terms: bool,
    [n_terms, n_columns]: [usize; 2],
    bias: Option<CubeTensor>,
) -> CubeTensor {
    let dtype = rows.tensor.dtype;
    let n_rows = match rows.routes {
        Some(routes) => routes.n_rows,
        None => rows.tensor.shape()[0],
    };
    if let Some(bias) = &bias {
        assert_eq!(bias.dtype, dtype, "dtype of a bias");
    }
    Product {
        lhs: Dense::rows(rows.tensor),
        lhs_rows: true,
        lhs_gathered: rows.gathered,
        rhs_rows: matrices.height(),
        rhs: matrices.right,
        rhs_terms,
        rhs_gathered: false,
        grouping: match rows.routes {
            Some(_) => Grouping::Rows,
            None => Grouping::None,
        },
        n_rows,
        n_columns,
        n_terms,
        routes: rows.routes.cloned(),
        bias: bias.map(contiguous),
        scores: None,
    }
    .run([n_rows, n_columns], dtype)
}

/// `input^T x grad` per expert, `[experts, in, out]`; rows of `grad` times their score. The rows of one of
/// both are those of the tokens.
pub(crate) fn weight_gradient(
    input: CubeTensor,
    input_gathered: bool,
    grad: CubeTensor,
    grad_gathered: bool,
    scores: Option<CubeTensor>,
    routes: &RouteTensors,
) -> CubeTensor {
    let dtype = input.dtype;
    let (n_rows, n_columns) = (input.shape()[1], grad.shape()[1]);
    Product {
        lhs: Dense::rows(input),
        lhs_rows: false,
        lhs_gathered: input_gathered,
        rhs: Right::Dense(Dense::rows(grad)),
        rhs_terms: true,
        rhs_gathered: grad_gathered,
        rhs_rows: 0,
        grouping: Grouping::Terms,
        n_rows,
        n_columns,
        n_terms: 0,
        routes: Some(routes.clone()),
        bias: None,
        scores: scores.map(contiguous),
    }
    .run([routes.n_experts, n_rows, n_columns], dtype)
}

/// A matrix, or those of all experts.
struct Matrices {
    right: Right,
    /// Whether rows in memory are inputs; else they are outputs.
    rows_are_inputs: bool,
    d_input: usize,
    d_output: usize,
}

impl Matrices {
    fn new(weight: OperandPrimitive<CubeBackend>) -> Self {
        match weight {
            OperandPrimitive::Dense(weight) => {
                let shape = weight.shape();
                let rank = shape.num_dims();
                let (dense, rows_are_inputs) = match rank {
                    // A matrix may be read either way.
                    2 => Dense::matrix(weight),
                    _ => (Dense::rows(weight), true),
                };
                Self {
                    right: Right::Dense(dense),
                    rows_are_inputs,
                    d_input: shape[rank - 2],
                    d_output: shape[rank - 1],
                }
            }
            OperandPrimitive::Packed(weight, scheme)
            | OperandPrimitive::Merged(weight, scheme, _)
            | OperandPrimitive::Rounded(weight, scheme, _) => {
                let packed = Packed::new(weight, &scheme);
                Self {
                    rows_are_inputs: false,
                    d_input: packed.d_input,
                    d_output: packed.d_output,
                    right: Right::Packed(packed),
                }
            }
        }
    }

    /// Rows of an expert in memory.
    fn height(&self) -> usize {
        match self.rows_are_inputs {
            true => self.d_input,
            false => self.d_output,
        }
    }
}
