//! All operations of one case.

use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use burn_fp4::backend::{ExpertBackend, ExpertRoutes, Fp4Primitive, OperandPrimitive};

use super::case::{Case, Inputs, Matrices, floats};
use super::reference::{Reference, Sums};
use kernel_harness::runtimes::{TestRuntime, read};

/// The routing of a case by kernels.
pub fn routes(runtime: &TestRuntime, case: &Case) -> ExpertRoutes<CubeBackend> {
    let shape = [case.n_tokens(), case.top_k];
    let indices = runtime.tensor(TensorData::new(case.chosen.clone(), shape));
    CubeBackend::expert_routing(indices, case.n_experts)
}

fn matrices(runtime: &TestRuntime, inputs: &Inputs) -> OperandPrimitive<CubeBackend> {
    match (inputs.matrices, &inputs.packed) {
        (Matrices::Packed(scheme), Some([codes, scales, global_scales])) => {
            let packed = Fp4Primitive {
                codes: runtime.tensor(codes.clone()),
                scales: runtime.tensor(scales.clone()),
                global_scales: runtime.tensor(global_scales.clone()),
            };
            OperandPrimitive::Packed(packed, scheme)
        }
        _ => OperandPrimitive::Dense(runtime.tensor(inputs.weight.clone())),
    }
}

/// Relative error of one rounding, and half the distance of subnormal numbers.
fn rounding(dtype: DType) -> (f64, f64) {
    match dtype {
        DType::BF16 => (2f64.powi(-8), 0.0),
        DType::F16 => (2f64.powi(-11), 2f64.powi(-25)),
        _ => (0.0, 0.0),
    }
}

/// What a comparison is about.
struct Bound<'a> {
    what: &'a str,
    dtype: DType,
    largest: &'a mut f64,
}

impl Bound<'_> {
    /// Fails unless every value is within the rounding of `terms` products and additions in `f32`, of one
    /// rounding to the dtype per term if there are `stages`, and of the result.
    fn check(&mut self, name: &str, found: CubeTensor, sums: &Sums, terms: usize, stages: usize) {
        let found = read(found);
        assert_eq!(found.dtype(), self.dtype, "{}, {name}", self.what);
        let found = floats(&found);
        assert_eq!(found.len(), sums.values.len(), "{}, {name}", self.what);
        let sum = (terms + 6) as f64 * 2f64.powi(-24);
        let (unit, smallest) = rounding(self.dtype);
        let relative = sum / (1.0 - sum) + stages as f64 * unit;
        let exact = sums.values.iter().zip(&sums.magnitudes);
        for (i, (found, (exact, magnitude))) in found.iter().zip(exact).enumerate() {
            let bound = relative * magnitude * (1.0 + unit) + unit * exact.abs();
            let bound = bound + smallest * (terms + 1) as f64;
            let error = (found - exact).abs();
            let what = self.what;
            assert!(
                error <= bound,
                "{what}, {name}, {i}: {found} {exact} {bound}"
            );
            if bound > 0.0 {
                *self.largest = self.largest.max(error / bound);
            }
        }
    }
}

/// All nine methods; returns how many results were compared.
pub fn check(runtime: &TestRuntime, case: &Case, inputs: &Inputs, largest: &mut f64) -> usize {
    let what = format!(
        "{}: {}, {:?}, {:?}",
        runtime.name, case.name, inputs.dtype, inputs.matrices
    );
    let mut bound = Bound {
        what: &what,
        dtype: inputs.dtype,
        largest,
    };
    let of = |data: &TensorData| runtime.tensor(data.clone());
    let routes = routes(runtime, case);
    let weight = matrices(runtime, inputs);
    let reference = Reference::new(case, inputs);
    let (k, n, rows) = (case.d_input, case.d_output, case.chosen.len());
    let top_k = case.top_k;

    let found = CubeBackend::expert_linear(
        of(&inputs.x),
        weight.clone(),
        of(&inputs.bias),
        routes.clone(),
    );
    let linear = reference.linear(&floats(&inputs.x), true);
    bound.check("linear", found, &linear, k, 0);

    let row_grad = floats(&inputs.row_grad);
    let found =
        CubeBackend::expert_linear_backward(of(&inputs.row_grad), weight.clone(), routes.clone());
    let products = reference.backward(&row_grad, false);
    let sums = reference.per_token(&products, k, false);
    bound.check("linear backward", found, &sums, n + top_k, 1);

    let found = CubeBackend::expert_combine(
        of(&inputs.rows),
        weight.clone(),
        of(&inputs.bias),
        of(&inputs.scores),
        routes.clone(),
    );
    let products = reference.linear(&floats(&inputs.rows), false);
    let sums = reference.per_token(&products, n, true);
    bound.check("combine", found, &sums, k + top_k, 1);

    let token_grad = floats(&inputs.token_grad);
    let found = CubeBackend::expert_combine_backward(
        of(&inputs.token_grad),
        of(&inputs.rows),
        weight,
        of(&inputs.bias),
        of(&inputs.scores),
        routes.clone(),
    );
    let products = reference.backward(&token_grad, true);
    let (of_rows, of_scores) =
        reference.combine_backward(&products, &floats(&inputs.rows), &token_grad);
    bound.check("gradient of the rows", found.rows, &of_rows, n, 1);
    bound.check("gradient of the scores", found.scores, &of_scores, n + k, 1);
    if inputs.packed.is_some() {
        return 5;
    }

    let found = CubeBackend::expert_linear_weight_gradient(
        of(&inputs.x),
        of(&inputs.row_grad),
        routes.clone(),
    );
    let sums = reference.weight_gradient(&floats(&inputs.x), &row_grad, false);
    bound.check("linear, gradient of the matrices", found, &sums, rows, 0);
    let found = CubeBackend::expert_combine_weight_gradient(
        of(&inputs.token_grad),
        of(&inputs.rows),
        of(&inputs.scores),
        routes.clone(),
    );
    let sums = reference.weight_gradient(&floats(&inputs.rows), &token_grad, true);
    bound.check("combine, gradient of the matrices", found, &sums, rows, 1);

    let found = CubeBackend::expert_linear_bias_gradient(of(&inputs.row_grad), routes.clone());
    let sums = reference.bias_gradient(&row_grad, false);
    bound.check("linear, gradient of the bias", found, &sums, rows, 0);
    let found = CubeBackend::expert_combine_bias_gradient(
        of(&inputs.token_grad),
        of(&inputs.scores),
        routes,
    );
    let sums = reference.bias_gradient(&token_grad, true);
    bound.check("combine, gradient of the bias", found, &sums, rows, 0);
    9
}
