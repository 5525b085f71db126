//! Shapes and dtypes of results before they are computed, for lazy execution.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, Shape};

use super::extension::{CombineGradientsMetadata, ExpertRoutesMetadata};
use crate::ops::extension::Fp4PrimitiveMetadata;
use crate::product::low_rank::LowRankPrimitiveMetadata;
use crate::product::operand::OperandPrimitiveMetadata;
use crate::scheme::Fp4Scheme;

impl ExpertRoutesMetadata {
    fn n_rows(&self) -> usize {
        self.order.shape[0]
    }

    fn n_experts(&self) -> usize {
        self.offsets.shape[0] - 1
    }
}

pub(super) fn routing(indices: &TensorSpec, n_experts: &usize) -> ExpertRoutesMetadata {
    ExpertRoutesMetadata {
        order: TensorSpec::new(Shape::new([indices.shape.num_elements()]), DType::I32),
        offsets: TensorSpec::new(Shape::new([n_experts + 1]), DType::I32),
        top_k: indices.shape[1],
    }
}

pub(super) fn merge(
    _base: &OperandPrimitiveMetadata,
    delta: &LowRankPrimitiveMetadata,
    global_scales: &TensorSpec,
    routes: &ExpertRoutesMetadata,
    scheme: &Fp4Scheme,
) -> Fp4PrimitiveMetadata {
    let [d_input, d_output] = delta.widths();
    let packed = |elements_per_byte: usize| {
        let shape = [routes.n_experts(), d_output, d_input / elements_per_byte];
        TensorSpec::new(Shape::new(shape), DType::U8)
    };
    Fp4PrimitiveMetadata {
        codes: packed(2),
        scales: packed(scheme.block_size()),
        global_scales: global_scales.clone(),
    }
}

pub(super) fn linear(
    x: &TensorSpec,
    weight: &OperandPrimitiveMetadata,
    _bias: &TensorSpec,
    routes: &ExpertRoutesMetadata,
) -> TensorSpec {
    let [_, d_output] = weight.widths();
    TensorSpec::new(Shape::new([routes.n_rows(), d_output]), x.dtype)
}

pub(super) fn linear_backward(
    grad: &TensorSpec,
    weight: &OperandPrimitiveMetadata,
    routes: &ExpertRoutesMetadata,
) -> TensorSpec {
    let [d_input, _] = weight.widths();
    let n_tokens = routes.n_rows() / routes.top_k;
    TensorSpec::new(Shape::new([n_tokens, d_input]), grad.dtype)
}

pub(super) fn linear_weight_gradient(
    x: &TensorSpec,
    grad: &TensorSpec,
    routes: &ExpertRoutesMetadata,
) -> TensorSpec {
    let shape = [routes.n_experts(), x.shape[1], grad.shape[1]];
    TensorSpec::new(Shape::new(shape), x.dtype)
}

pub(super) fn linear_bias_gradient(grad: &TensorSpec, routes: &ExpertRoutesMetadata) -> TensorSpec {
    let shape = [routes.n_experts(), grad.shape[1]];
    TensorSpec::new(Shape::new(shape), grad.dtype)
}

pub(super) fn combine(
    rows: &TensorSpec,
    weight: &OperandPrimitiveMetadata,
    _bias: &TensorSpec,
    _scores: &TensorSpec,
    routes: &ExpertRoutesMetadata,
) -> TensorSpec {
    let [_, d_output] = weight.widths();
    let n_tokens = routes.n_rows() / routes.top_k;
    TensorSpec::new(Shape::new([n_tokens, d_output]), rows.dtype)
}

pub(super) fn combine_backward(
    _grad: &TensorSpec,
    rows: &TensorSpec,
    _weight: &OperandPrimitiveMetadata,
    _bias: &TensorSpec,
    scores: &TensorSpec,
    _routes: &ExpertRoutesMetadata,
) -> CombineGradientsMetadata {
    CombineGradientsMetadata {
        rows: rows.clone(),
        scores: scores.clone(),
    }
}

pub(super) fn combine_weight_gradient(
    grad: &TensorSpec,
    rows: &TensorSpec,
    _scores: &TensorSpec,
    routes: &ExpertRoutesMetadata,
) -> TensorSpec {
    let shape = [routes.n_experts(), rows.shape[1], grad.shape[1]];
    TensorSpec::new(Shape::new(shape), rows.dtype)
}

pub(super) fn combine_bias_gradient(
    grad: &TensorSpec,
    _scores: &TensorSpec,
    routes: &ExpertRoutesMetadata,
) -> TensorSpec {
    let shape = [routes.n_experts(), grad.shape[1]];
    TensorSpec::new(Shape::new(shape), grad.dtype)
}
