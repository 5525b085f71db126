//! Rows times the matrices of their experts.

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::super::ExpertPrimitive;
use super::few_rows::{are_few, few_rows};
use crate::ops::cube::contiguous;
use crate::ops::cube::gemm::{Dense, Grouping, Packed, Product, Right, RouteTensors};

/// `rows x matrices (+ bias)`, a row per choice; `gathered` where the rows are those of the tokens.
pub(super) fn forward(
    rows: CubeTensor,
    gathered: bool,
    weight: ExpertPrimitive<CubeBackend>,
    bias: Option<CubeTensor>,
    routes: &RouteTensors,
) -> CubeTensor {
    let weight = match weight {
        ExpertPrimitive::Packed(packed, scheme) if are_few(&packed, routes) => {
            return few_rows(rows, gathered, (packed, scheme), bias, routes);
        }
        weight => weight,
    };
    let matrices = Matrices::new(weight);
    let (n_terms, n_columns) = (matrices.d_input, matrices.d_output);
    // Dense matrices have rows of terms, packed ones a row per output.
    let rhs_terms = !matrices.packed();
    multiply(
        rows,
        gathered,
        matrices,
        rhs_terms,
        [n_terms, n_columns],
        bias,
        routes,
    )
}

/// `rows x matrices^T`, a row per choice.
pub(super) fn backward(
    rows: CubeTensor,
    gathered: bool,
    weight: ExpertPrimitive<CubeBackend>,
    routes: &RouteTensors,
) -> CubeTensor {
    let matrices = Matrices::new(weight);
    let (n_terms, n_columns) = (matrices.d_output, matrices.d_input);
    let rhs_terms = matrices.packed();
    multiply(
        rows,
        gathered,
        matrices,
        rhs_terms,
        [n_terms, n_columns],
        None,
        routes,
    )
}

fn multiply(
    rows: CubeTensor,
    gathered: bool,
    matrices: Matrices,
    rhs_terms: bool,
    [n_terms, n_columns]: [usize; 2],
    bias: Option<CubeTensor>,
    routes: &RouteTensors,
) -> CubeTensor {
    let dtype = rows.dtype;
    Product {
        lhs: Dense::rows(rows),
        lhs_rows: true,
        lhs_gathered: gathered,
        rhs_rows: matrices.rows(),
        rhs: matrices.right,
        rhs_terms,
        rhs_gathered: false,
        grouping: Grouping::Rows,
        n_rows: routes.n_rows,
        n_columns,
        n_terms,
        routes: Some(routes.clone()),
        bias: bias.map(contiguous),
        scores: None,
    }
    .run([routes.n_rows, n_columns], dtype)
}

/// `input^T x grad` per expert, `[experts, in, out]`; rows of `grad` times their score.
pub(super) fn weight_gradient(
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

/// The matrices of all experts.
struct Matrices {
    right: Right,
    d_input: usize,
    d_output: usize,
}

impl Matrices {
    fn new(weight: ExpertPrimitive<CubeBackend>) -> Self {
        match weight {
            ExpertPrimitive::Dense(weight) => {
                let [_, d_input, d_output] = weight.shape().dims();
                Self {
                    right: Right::Dense(Dense::rows(weight)),
                    d_input,
                    d_output,
                }
            }
            ExpertPrimitive::Packed(weight, scheme) => {
                let packed = Packed::new(weight, &scheme);
                Self {
                    d_input: packed.d_input,
                    d_output: packed.d_output,
                    right: Right::Packed(packed),
                }
            }
        }
    }

    fn packed(&self) -> bool {
        matches!(self.right, Right::Packed(_))
    }

    /// Rows of an expert in memory.
    fn rows(&self) -> usize {
        match self.packed() {
            true => self.d_output,
            false => self.d_input,
        }
    }
}
