//! The products from Burn's own operations, in f64.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::case::{Case, tensor, values};

/// Inputs of a product as they come in a `Case`, in row-major order.
#[derive(Clone)]
pub struct Inputs {
    /// `[tokens, in]`, or `[tokens * top_k, in]` to combine.
    pub x: Vec<f64>,
    pub weight: Vec<f64>,
    pub bias: Vec<f64>,
    pub scores: Vec<f64>,
    /// Gradient of the output.
    pub seed: Vec<f64>,
}

/// Output and gradients of all inputs.
pub struct Results {
    pub output: Vec<f64>,
    pub x: Vec<f64>,
    pub weight: Vec<f64>,
    pub bias: Vec<f64>,
    pub scores: Vec<f64>,
}

impl Inputs {
    /// With the magnitudes of all values, every result is the sum of the magnitudes of its terms.
    pub fn magnitudes(&self) -> Self {
        let abs = |values: &[f64]| values.iter().map(|value| value.abs()).collect();
        Self {
            x: abs(&self.x),
            weight: abs(&self.weight),
            bias: abs(&self.bias),
            scores: abs(&self.scores),
            seed: abs(&self.seed),
        }
    }
}

/// A product, or with `combined` the sum of products per token.
pub fn run(case: &Case, inputs: &Inputs, combined: bool) -> Results {
    let device = Device::flex().autodiff();
    let Case {
        d_input,
        d_output,
        experts,
        top_k,
        ..
    } = *case;
    let (n_rows, tokens) = (case.chosen.len(), case.tokens());
    let order = case.order();
    let index = |values: Vec<i32>| -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(values, [n_rows]), &device)
    };
    let choice = index(order.iter().map(|&c| c as i32).collect());
    let token = index(order.iter().map(|&c| (c / top_k) as i32).collect());
    let expert = index(order.iter().map(|&c| case.chosen[c]).collect());

    let float = |values: &[f64], shape| tensor(values, shape, &device, DType::F64).require_grad();
    let x = float(&inputs.x, [inputs.x.len() / d_input, d_input]);
    let bias = float(&inputs.bias, [experts, d_output]);
    let scores = float(&inputs.scores, [tokens, top_k]);
    let weight: Tensor<3> = tensor(
        &inputs.weight,
        [experts, d_input, d_output],
        &device,
        DType::F64,
    );
    let weight = weight.require_grad();

    let rows = if combined {
        x.clone()
    } else {
        x.clone().select(0, token.clone())
    };
    let matrices = weight.clone().select(0, expert.clone());
    let products = rows.reshape([n_rows, 1, d_input]).matmul(matrices);
    let products = products.reshape([n_rows, d_output]) + bias.clone().select(0, expert);
    let output = if combined {
        let score = scores
            .clone()
            .reshape([n_rows])
            .select(0, choice)
            .reshape([n_rows, 1]);
        let sums = Tensor::zeros([tokens, d_output], (&device, DType::F64));
        sums.select_assign(
            0,
            token,
            products * score,
            burn::tensor::IndexingUpdateOp::Add,
        )
    } else {
        products
    };
    let seed = tensor(&inputs.seed, output.dims(), &device, DType::F64);
    let grads = (output.clone() * seed).sum().backward();
    let of = |tensor: &Tensor<2>| tensor.grad(&grads).map_or(Vec::new(), values);
    Results {
        output: values(output),
        x: of(&x),
        weight: values(weight.grad(&grads).unwrap()),
        bias: of(&bias),
        scores: of(&scores),
    }
}

/// Fails unless every value is within the rounding of `terms` additions and products in f32, in any
/// order, and of one rounding to `dtype`.
pub fn assert_within(
    what: &str,
    found: &[f64],
    exact: &[f64],
    magnitudes: &[f64],
    (terms, dtype): (usize, DType),
) {
    assert_eq!(found.len(), exact.len(), "{what}");
    let sum = terms as f64 * 2f64.powi(-24);
    let gamma = sum / (1.0 - sum);
    let (relative, absolute) = crate::case::rounding(dtype);
    for (i, ((found, exact), magnitude)) in found.iter().zip(exact).zip(magnitudes).enumerate() {
        let bound = gamma * magnitude * (1.0 + relative) + relative * exact.abs() + absolute;
        let deviation = (found - exact).abs();
        assert!(deviation <= bound, "{what}, {i}: {found} {exact} {bound}");
    }
}
